// For *_simd.cc files: what ends a product.
#pragma once

#include "cpu/sigmoid.h"
#include "cpu/tile_end.h"

namespace onesearch::ONESEARCH_TIER {

// Within 2e-7. Source: Abramowitz and Stegun, 7.1.26.
ONESEARCH_INLINE F32x16 erf(F32x16 x) {
  const U32x16 sign = as_u32(x) & U32x16::broadcast(0x80000000u);
  const F32x16 size = as_f32(as_u32(x) ^ sign);
  const F32x16 one = F32x16::broadcast(1.0f);
  const F32x16 t = one / fma(size, F32x16::broadcast(0.3275911f), one);
  F32x16 p = F32x16::broadcast(1.061405429f);
  p = fma(p, t, F32x16::broadcast(-1.453152027f));
  p = fma(p, t, F32x16::broadcast(1.421413741f));
  p = fma(p, t, F32x16::broadcast(-0.284496736f));
  p = fma(p, t, F32x16::broadcast(0.254829592f));
  const F32x16 above = one - p * t * exp(negate(size * size));
  return as_f32(as_u32(above) ^ sign);
}

ONESEARCH_INLINE F32x16 activate(Activation activation, F32x16 x) {
  switch (activation) {
    case Activation::kRelu:
      return max(F32x16::zero(), x);
    case Activation::kSilu:
      return x * sigmoid(x);
    case Activation::kGelu: {
      const F32x16 half = F32x16::broadcast(0.5f);
      return fma(x * half, erf(x * F32x16::broadcast(0.70710678f)), x * half);
    }
    case Activation::kGeluTanh: {
      const F32x16 cubic =
          fma(x * x, F32x16::broadcast(0.0713548163f), F32x16::broadcast(1.59576912f));
      return x * sigmoid(x * cubic);
    }
    case Activation::kQuickGelu:
      return x * sigmoid(x * F32x16::broadcast(1.702f));
    case Activation::kNone:
      break;
  }
  return x;
}

// What becomes of sixteen sums of a row, from output `at` of the tile on.
template <class T>
ONESEARCH_INLINE void finish(const TileEnd& end, int row, int64_t at, F32x16 y) {
  if (end.bias != nullptr) y = y + F32x16::load(static_cast<const T*>(end.bias) + at);
  y = activate(end.activation, y);
  if (end.other != nullptr) {
    const T* other = static_cast<const T*>(end.other) + row * end.other_stride;
    y = end.multiply ? y * F32x16::load(other + at) : y + F32x16::load(other + at);
  }
  y.store(static_cast<T*>(end.out) + row * end.out_stride + at);
}

}  // namespace onesearch::ONESEARCH_TIER
