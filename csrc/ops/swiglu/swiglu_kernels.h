// One row of swiglu, per tier and element type.
#pragma once

#include <cstdint>

#include "cpu/isa.h"

namespace onesearch {

// gate, up, out: n elements of the type; out may be gate or up.
using GateRow = void (*)(const void* gate, const void* up, void* out, int64_t n);

struct SwigluKernels {
  GateRow float32;
  GateRow bfloat16;
  GateRow float16;
};

ONESEARCH_TIER_TABLE(SwigluKernels, swiglu_kernels)

}  // namespace onesearch
