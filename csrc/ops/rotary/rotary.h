// Rotary positions, after a norm of every head where the model has one. With half = head_dim / 2:
//     h = x, or x / sqrt(mean(x^2) + eps) * norm_weight        for each token and head
//     out[i] = h[i] cos[i] - h[i + half] sin[i]                for i < half
//     out[i + half] = h[i + half] cos[i] + h[i] sin[i]
#pragma once

#include "core/tensor_view.h"

namespace onesearch {

struct RotaryInput {
  TensorView x;         // [batch, token, head, head_dim] floats, heads contiguous; head_dim even
  TensorView rotation;  // [batch, token, head_dim] float32, rows contiguous: cosines, then sines
  const TensorView* norm_weight = nullptr;  // [head, head_dim] in the dtype of x, rows contiguous
  float eps = 0.0f;                         // finite, at least 0
};

// out: as x; may be x. In float32, rounded once; the same bits whatever the neighbours and threads.
void rotary(const RotaryInput& input, const TensorView& out);

// Throws what rotary would throw, and computes nothing.
void check_rotary(const RotaryInput& input, const TensorView& out);

}  // namespace onesearch
