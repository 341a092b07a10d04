// One function per element type that operators take.
#pragma once

#include "core/dtype.h"

namespace onesearch {

template <class Function>
struct FloatKernels {
  Function float32;
  Function bfloat16;
  Function float16;

  // Of one of these three.
  Function of(DType dtype) const {
    if (dtype == DType::kBFloat16) return bfloat16;
    return dtype == DType::kFloat16 ? float16 : float32;
  }
};

}  // namespace onesearch
