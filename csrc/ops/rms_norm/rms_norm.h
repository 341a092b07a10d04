// out[i] = x[i] / sqrt(mean(x[i]^2) + eps) * weight, row by row.
#pragma once

#include "core/tensor_view.h"

namespace onesearch {

struct RmsNormInput {
  TensorView x;       // [row, hidden] float32, bfloat16 or float16, rows contiguous
  TensorView weight;  // [hidden] in the dtype of x, contiguous
  float eps = 0.0f;   // finite, at least 0
};

// out: [row, hidden] in the dtype of x, rows contiguous; may be x. In float32, rounded once. The
// same bits for a row, whatever its neighbours and the number of threads. Reads x twice, the second
// time from the first cache.
void rms_norm(const RmsNormInput& input, const TensorView& out);

// Throws what rms_norm would throw, and computes nothing.
void check_rms_norm(const RmsNormInput& input, const TensorView& out);

}  // namespace onesearch
