// One row of rms_norm, per tier and element type.
#pragma once

#include <cstdint>

#include "cpu/float_kernels.h"
#include "cpu/isa.h"

namespace onesearch {

// x, weight, out: n elements of the type; out may be x.
using NormRow = void (*)(const void* x, const void* weight, void* out, int64_t n, float eps);

ONESEARCH_TIER_TABLE(FloatKernels<NormRow>, rms_norm_kernels)

}  // namespace onesearch
