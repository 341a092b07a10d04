// out[i, j] = silu(gate) * up, gate = x[i, j], up = x[i, hidden + j], silu(g) = g / (1 + exp(-g)).
#pragma once

#include "core/tensor_view.h"

namespace onesearch {

struct SwigluInput {
  TensorView x;  // [row, 2 * hidden] float32, bfloat16 or float16, rows contiguous
};

// out: [row, hidden] in the dtype of x, rows contiguous; may be the first half of x. In float32,
// rounded once. The same bits for a row, whatever its neighbours and the number of threads.
void swiglu(const SwigluInput& input, const TensorView& out);

// Throws what swiglu would throw, and computes nothing.
void check_swiglu(const SwigluInput& input, const TensorView& out);

}  // namespace onesearch
