// One algorithm for host and device: headers under csrc/core and the views use only this macro,
// <cstdint> and plain loops.
#pragma once

#include <cstdint>

// Inlining is forced, not asked for: these headers are compiled once per tier of instruction sets,
// and of several out-of-line copies the linker would keep one, perhaps with instructions this
// processor lacks.
#if defined(__CUDACC__)
#define ONESEARCH_HD __host__ __device__ __forceinline__
#else
#define ONESEARCH_HD inline __attribute__((always_inline))
#endif

// Before a loop of few rounds, whose arrays then stay in registers.
#if defined(__CUDACC__)
#define ONESEARCH_UNROLL _Pragma("unroll")
#else
#define ONESEARCH_UNROLL
#endif

namespace onesearch {

ONESEARCH_HD int popcount(uint64_t word) {
#if defined(__CUDA_ARCH__)
  return __popcll(word);
#else
  return __builtin_popcountll(word);
#endif
}

// Index of the lowest set bit; `word` is not 0.
ONESEARCH_HD int lowest_bit(uint64_t word) {
#if defined(__CUDA_ARCH__)
  return __ffsll(static_cast<long long>(word)) - 1;
#else
  return __builtin_ctzll(word);
#endif
}

}  // namespace onesearch
