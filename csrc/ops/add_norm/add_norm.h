// A sum and its norm, row by row:
//     sum = x + residual, rounded to its dtype
//     normed = sum / sqrt(mean(sum^2) + eps) * weight                        without a bias
//     normed = (sum - mean) / sqrt(mean((sum - mean)^2) + eps) * weight + bias     with one
#pragma once

#include "core/tensor_view.h"

namespace onesearch {

struct AddNormInput {
  TensorView x;                      // [row, hidden] floats, rows contiguous
  TensorView residual;               // as x
  TensorView weight;                 // [hidden] in the dtype of x, contiguous
  const TensorView* bias = nullptr;  // as weight
  float eps = 0.0f;                  // finite, at least 0
};

// As x; sum may be x or residual.
struct AddNormOutput {
  TensorView sum;
  TensorView normed;
};

// In float32, rounded once. The same bits for a row, whatever its neighbours and the number of
// threads.
void add_norm(const AddNormInput& input, const AddNormOutput& out);

// Throws what add_norm would throw, and computes nothing.
void check_add_norm(const AddNormInput& input, const AddNormOutput& out);

}  // namespace onesearch
