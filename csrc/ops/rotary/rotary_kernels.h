// One head of one token of rotary, per tier and element type.
#pragma once

#include <cstdint>

#include "cpu/isa.h"

namespace onesearch {

// x, norm_weight (or null), out: head_dim elements of the type; rotation: head_dim floats.
using RotateHead = void (*)(const void* x, const float* rotation, const void* norm_weight,
                            float eps, void* out, int64_t head_dim);

struct RotaryKernels {
  RotateHead float32;
  RotateHead bfloat16;
  RotateHead float16;
};

ONESEARCH_TIER_TABLE(RotaryKernels, rotary_kernels)

}  // namespace onesearch
