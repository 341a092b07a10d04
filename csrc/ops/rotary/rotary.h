// Rotary positions, after a norm of every head where the model has one, each result written where
// it is read from next. With half = head_dim / 2, for each token and head of queries and keys:
//     h = x, or x / sqrt(mean(x^2) + eps) * norm_weight
//     out[i] = h[i] cos[i] - h[i + half] sin[i]                for i < half
//     out[i + half] = h[i + half] cos[i] + h[i] sin[i]
// Heads of values are copied.
#pragma once

#include "core/tensor_view.h"

namespace onesearch {

struct RotaryInput {
  // [batch, token, head + 2 kv_head, head_dim] floats: queries, keys, values; heads contiguous,
  // head_dim even.
  TensorView x;
  TensorView rotation;  // [batch, token, head_dim] float32, rows contiguous: cosines, then sines
  // [head + kv_head, head_dim] in the dtype of x, rows contiguous
  const TensorView* norm_weight = nullptr;
  float eps = 0.0f;  // finite, at least 0
};

// In the dtype of x, heads contiguous; each may be its own part of x.
struct RotaryOutput {
  TensorView query;  // [batch, token, head, head_dim]
  TensorView key;    // [batch, token, kv_head, head_dim]
  TensorView value;  // as key
};

// In float32, rounded once; the same bits whatever the neighbours and threads.
void rotary(const RotaryInput& input, const RotaryOutput& out);

// Throws what rotary would throw, and computes nothing.
void check_rotary(const RotaryInput& input, const RotaryOutput& out);

}  // namespace onesearch
