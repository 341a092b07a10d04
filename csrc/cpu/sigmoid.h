// For *_simd.cc files: 1 / (1 + exp(-x)), what SiLU and its like are made of.
#pragma once

#include "cpu/simd.h"

namespace onesearch::ONESEARCH_TIER {

ONESEARCH_INLINE F32x16 sigmoid(F32x16 x) {
  const F32x16 one = F32x16::broadcast(1.0f);
  return one / (one + exp(negate(x)));
}

}  // namespace onesearch::ONESEARCH_TIER
