// out[i] = log(sum over j of exp(x[i, j])), row by row.
#pragma once

#include "core/tensor_view.h"

namespace onesearch {

// x: [row, n] float32, bfloat16 or float16, rows contiguous; out: [row] float32. In float32; a row
// with NaN gives NaN, one with +inf gives +inf, one that is empty or all -inf gives -inf. The same
// bits for a row, whatever its neighbours and the number of threads.
void log_sum_exp(const TensorView& x, const TensorView& out);

// Throws what log_sum_exp would throw, and computes nothing.
void check_log_sum_exp(const TensorView& x, const TensorView& out);

}  // namespace onesearch
