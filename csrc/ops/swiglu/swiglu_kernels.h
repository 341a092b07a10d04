// One row of swiglu, per tier and element type.
#pragma once

#include <cstdint>

#include "cpu/float_kernels.h"
#include "cpu/isa.h"

namespace onesearch {

// gate, up, out: n elements of the type; out may be gate or up.
using GateRow = void (*)(const void* gate, const void* up, void* out, int64_t n);

ONESEARCH_TIER_TABLE(FloatKernels<GateRow>, swiglu_kernels)

}  // namespace onesearch
