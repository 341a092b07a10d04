// A product with weights of 8 bits: rows of x are rounded to 8 bits too, each by its own scale.
//     scale[i] = max_j |x[i, j]| / 127        q[i, j] = round(x[i, j] / scale[i])
//     y[i, o] = scale[i] weight_scale[o] sum_j q[i, j] (weight[o, j] - 128)
// and what a ProductEnd makes of it.
#pragma once

#include "core/tensor_view.h"
#include "cpu/product_end.h"

namespace onesearch {

struct Int8LinearInput {
  TensorView x;             // [row, in] float32, bfloat16 or float16, rows contiguous
  TensorView weight;        // [out / 16, in / 4, 16, 4] uint8, contiguous
  TensorView weight_scale;  // [out] float32, contiguous
  ProductEnd end;
};

// out: [row, out] in the dtype of x, rows contiguous; may be added or factor. Sums are exact; the
// rest is float32, rounded once. A row with NaN or infinity gives NaN. The same bits for a row,
// whatever its neighbours, the number of threads and the instructions that multiply.
void int8_linear(const Int8LinearInput& input, const TensorView& out);

// Throws what int8_linear would throw, and computes nothing.
void check_int8_linear(const Int8LinearInput& input, const TensorView& out);

}  // namespace onesearch
