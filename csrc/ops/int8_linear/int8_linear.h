// A product with weights of 8 bits: rows of x are rounded to 8 bits too, each by its own scale.
//     scale[i] = max_j |x[i, j]| / 127        q[i, j] = round(x[i, j] / scale[i])
//     y[i, o] = scale[i] weight_scale[o] sum_j q[i, j] (weight[o, j] - 128) + bias[o]
//     out[i, o] = activation(y[i, o]) + added[i, o], or activation(y[i, o]) * factor[i, o]
#pragma once

#include "core/tensor_view.h"

namespace onesearch {

// The numbers are those that the Python side passes.
enum class Activation : int {
  kNone = 0,
  kRelu = 1,
  kSilu = 2,
  kGelu = 3,       // by erf
  kGeluTanh = 4,   // by tanh
  kQuickGelu = 5,  // x / (1 + exp(-1.702 x))
};

struct Int8LinearInput {
  TensorView x;                      // [row, in] float32, bfloat16 or float16, rows contiguous
  TensorView weight;                 // [out / 16, in / 4, 16, 4] uint8, contiguous
  TensorView weight_scale;           // [out] float32, contiguous
  const TensorView* bias = nullptr;  // [out] in the dtype of x, contiguous
  Activation activation = Activation::kNone;
  const TensorView* added = nullptr;   // [row, out] in the dtype of x, rows contiguous
  const TensorView* factor = nullptr;  // as added; one of both at most
};

// out: [row, out] in the dtype of x, rows contiguous; may be added or factor. Sums are exact; the
// rest is float32, rounded once. A row with NaN or infinity gives NaN. The same bits for a row,
// whatever its neighbours, the number of threads and the instructions that multiply.
void int8_linear(const Int8LinearInput& input, const TensorView& out);

// Throws what int8_linear would throw, and computes nothing.
void check_int8_linear(const Int8LinearInput& input, const TensorView& out);

}  // namespace onesearch
