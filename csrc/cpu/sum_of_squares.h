// For *_simd.cc files: the sum of squares of a row in float32, in one order.
#pragma once

#include "cpu/simd.h"

namespace onesearch::ONESEARCH_TIER {

template <class T>
ONESEARCH_INLINE float sum_of_squares(const T* row, int64_t n) {
  // Independent sums, so that their latency does not bound the loop.
  F32x16 sums[4] = {F32x16::zero(), F32x16::zero(), F32x16::zero(), F32x16::zero()};
  int64_t at = 0;
  for (; at + 4 * kLanes <= n; at += 4 * kLanes) {
    for (int i = 0; i < 4; ++i) {
      const F32x16 x = F32x16::load(row + at + i * kLanes);
      sums[i] = fma(x, x, sums[i]);
    }
  }
  for (; at < n; at += kLanes) {
    const int count = static_cast<int>(n - at < kLanes ? n - at : kLanes);
    const F32x16 x = F32x16::load_first(row + at, count, 0.0f);
    sums[0] = fma(x, x, sums[0]);
  }
  return reduce_add((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

// 1 / sqrt(mean of squares + eps)
template <class T>
ONESEARCH_INLINE float inverse_rms(const T* row, int64_t n, float eps) {
  return 1.0f / __builtin_sqrtf(sum_of_squares(row, n) / static_cast<float>(n) + eps);
}

}  // namespace onesearch::ONESEARCH_TIER
