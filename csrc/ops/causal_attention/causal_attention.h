// Causal self-attention of the last tokens of a prompt.
//
// For token t of `tokens`, which is token s = prompt - tokens + t of its prompt, and head h, whose
// kv head is g = h / (heads / kv_heads):
//     out[b, t, h] = softmax(scale * query[b, t, h] key[b, g, :s + 1]^T) value[b, g, :s + 1]
// in float32, with a running maximum and sum: scores exist for one block of keys at a time.
#pragma once

#include <optional>

#include "core/tensor_view.h"

namespace onesearch {

// All of one type, float32, bfloat16 or float16, and contiguous along head_dim.
struct CausalAttentionInput {
  TensorView query;            // [batch, token, head, head_dim]; head_dim at most 512
  TensorView key;              // [batch, kv_head, prompt, head_dim]; at least as long as the query
  TensorView value;            // [batch, kv_head, prompt, head_dim]
  std::optional<float> scale;  // finite, above 0; head_dim ** -0.5 where none is given
};

// Throws InvalidArgument or TypeMismatch unless `input` and `out` [batch, token, head * head_dim]
// keep to what is said above. Returns the scale.
float check_causal_attention(const CausalAttentionInput& input, const TensorView& out);

// Checks, then fills `out`. The same bits for a token, whatever its neighbours and the number of
// threads. Cost: 2 batch * head * head_dim * token * (2 prompt - token) flops, and a copy of
// everything unless head_dim is a multiple of 8.
void causal_attention(const CausalAttentionInput& input, const TensorView& out);

}  // namespace onesearch
