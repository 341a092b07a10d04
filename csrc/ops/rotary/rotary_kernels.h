// One head of one token of rotary, per tier and element type.
#pragma once

#include <cstdint>

#include "cpu/float_kernels.h"
#include "cpu/isa.h"

namespace onesearch {

// x, norm_weight (or null), out: head_dim elements of the type; rotation: head_dim floats.
using RotateHead = void (*)(const void* x, const float* rotation, const void* norm_weight,
                            float eps, void* out, int64_t head_dim);

ONESEARCH_TIER_TABLE(FloatKernels<RotateHead>, rotary_kernels)

}  // namespace onesearch
