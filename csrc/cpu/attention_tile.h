// What a tier's attention kernel computes at a time: up to 64 queries that share one kv head of one
// request.
#pragma once

#include <cstdint>

#include "cpu/float_kernels.h"
#include "cpu/isa.h"

namespace onesearch {

constexpr int kTileRows = 64;
// Scores of a block of keys, 32 KiB, are read back from the first cache.
constexpr int kKeyBlock = 128;

// Keys or values of the context: rows of head_dim elements, `stride` elements apart.
struct ContextRows {
  const void* data;
  int64_t stride;
};

// Keys or values that beams have made, of one kv head.
struct OwnRows {
  const void* data;
  int64_t step_stride;
  int64_t beam_stride;
};

struct AttentionTile {
  int64_t head_dim;
  float scale;
  int rows;
  const void* query[kTileRows];
  void* out[kTileRows];
  ContextRows key;
  ContextRows value;
  int64_t num_keys;
  // How many of the keys each query sees, rising; the last sees all. Read of causal tiles only.
  bool causal;
  uint32_t visible[kTileRows];
  OwnRows own_key;
  OwnRows own_value;
  const int32_t* ancestry[kTileRows];  // num_steps entries, ancestry_stride apart
  int64_t ancestry_stride;
  int64_t num_steps;
};

// Floats of scratch memory that a kernel takes, 64-byte aligned.
inline int64_t attention_workspace(int64_t head_dim, int64_t num_steps) {
  const int64_t tile = kTileRows * head_dim;
  const int64_t block = kKeyBlock * head_dim;
  return 3 * tile + 2 * block + kTileRows * (kKeyBlock + num_steps + 3);
}

using AttendTile = void (*)(const AttentionTile& tile, float* workspace);

ONESEARCH_TIER_TABLE(FloatKernels<AttendTile>, attention_kernels)

#if defined(__x86_64__)
namespace avx512_bf16 {
// Products of bfloat16 pairs; for processors that have them (cpu_features).
extern const AttendTile attend_bfloat16;
}  // namespace avx512_bf16
namespace amx_bf16 {
// The same by tiles of AMX; for processors that have both (amx_bf16_usable).
extern const AttendTile attend_bfloat16;
}  // namespace amx_bf16
#endif

}  // namespace onesearch
