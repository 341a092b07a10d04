// A product of bfloat16 with a weight packed in the order in which it is read.
//     y[i, o] = sum_j x[i, j] weight[o / 64, j / 2, o % 64, j % 2]
// and what a ProductEnd makes of it.
#pragma once

#include "core/tensor_view.h"
#include "cpu/product_end.h"

namespace onesearch {

struct Bf16LinearInput {
  TensorView x;       // [row, in] bfloat16, rows contiguous
  TensorView weight;  // [out / 64, in / 2, 64, 2] bfloat16, contiguous
  ProductEnd end;
};

// Whether this processor, and the tier that is set, multiply pairs of bfloat16 in one instruction.
bool multiplies_bf16_pairs();

// out: [row, out] bfloat16, rows contiguous; may be added or factor. Sums are float32, rounded
// once. The same bits for a row, whatever its neighbours and the number of threads.
void bf16_linear(const Bf16LinearInput& input, const TensorView& out);

// Throws what bf16_linear would throw, and computes nothing.
void check_bf16_linear(const Bf16LinearInput& input, const TensorView& out);

}  // namespace onesearch
