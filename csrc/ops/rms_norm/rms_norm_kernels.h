// One row of rms_norm, per tier and element type.
#pragma once

#include <cstdint>

#include "cpu/isa.h"

namespace onesearch {

// x, weight, out: n elements of the type; out may be x.
using NormRow = void (*)(const void* x, const void* weight, void* out, int64_t n, float eps);

struct RmsNormKernels {
  NormRow float32;
  NormRow bfloat16;
  NormRow float16;
};

ONESEARCH_TIER_TABLE(RmsNormKernels, rms_norm_kernels)

}  // namespace onesearch
