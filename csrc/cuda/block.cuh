// A block of threads as the shared algorithms see it (core/block_select.h).
#pragma once

#include <cooperative_groups.h>

#include <cstdint>

namespace onesearch {

class CudaBlock {
 public:
  __device__ uint32_t thread() const { return threadIdx.x; }
  __device__ uint32_t threads() const { return blockDim.x; }
  __device__ uint32_t warp() const { return threadIdx.x / 32; }
  __device__ uint32_t warps() const { return blockDim.x / 32; }
  __device__ uint32_t lane() const { return threadIdx.x % 32; }
  __device__ uint32_t lanes() const { return 32; }

  __device__ void sync() const { __syncthreads(); }
  __device__ bool any(bool vote) const { return __syncthreads_or(vote) != 0; }

  // One atomic operation for all lanes that come here together.
  __device__ uint32_t append(uint32_t* size) const {
    const auto together = cooperative_groups::coalesced_threads();
    uint32_t first = 0;
    if (together.thread_rank() == 0) first = atomicAdd(size, together.size());
    return together.shfl(first, 0) + together.thread_rank();
  }
  __device__ void increment(uint32_t* count) const { atomicAdd(count, 1u); }
  __device__ void raise(uint32_t* bound, uint32_t value) const { atomicMax(bound, value); }

  __device__ float max_of_lanes(float x) const {
    for (int mask = 16; mask > 0; mask /= 2) {
      const float other = __shfl_xor_sync(~0u, x, mask);
      x = other > x ? other : x;
    }
    return x;
  }
  __device__ float sum_of_lanes(float x) const {
    for (int mask = 16; mask > 0; mask /= 2) x += __shfl_xor_sync(~0u, x, mask);
    return x;
  }
  __device__ uint32_t sum_of_lower_lanes(uint32_t x) const {
    uint32_t sum = x;
    for (uint32_t step = 1; step < 32; step *= 2) {
      const uint32_t lower = __shfl_up_sync(~0u, sum, step);
      if (lane() >= step) sum += lower;
    }
    return sum - x;
  }

  __device__ static float exp(float x) { return __expf(x); }
  __device__ static float log(float x) { return logf(x); }
};

}  // namespace onesearch
