// One row of add_norm, per tier and element type.
#pragma once

#include <cstdint>

#include "cpu/float_kernels.h"
#include "cpu/isa.h"

namespace onesearch {

// All of n elements of the type; bias may be null, sum may be x or residual.
struct AddNormRow {
  const void* x;
  const void* residual;
  const void* weight;
  const void* bias;
  void* sum;
  void* normed;
  int64_t n;
  float eps;
};

using AddAndNormRow = void (*)(const AddNormRow& row);

ONESEARCH_TIER_TABLE(FloatKernels<AddAndNormRow>, add_norm_kernels)

}  // namespace onesearch
