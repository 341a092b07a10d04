// Causal self-attention of the last tokens of a prompt.
//
// For token t of `tokens`, which is token s = prompt - tokens + t of its prompt, and head h, whose
// kv head is g = h / (heads / kv_heads):
//     out[b, t, h] = softmax(scale * query[b, t, h] key[b, g, :s + 1]^T) value[b, g, :s + 1]
// in float32, with a running maximum and sum: scores exist for one block of keys at a time.
#pragma once

#include "core/tensor_view.h"

namespace onesearch {

// All of one type, float32, bfloat16 or float16, and contiguous along head_dim.
struct CausalAttentionInput {
  TensorView query;    // [batch, token, head, head_dim]; head_dim at most 512
  TensorView key;      // [batch, kv_head, prompt, head_dim]; at least as long as the query
  TensorView value;    // [batch, kv_head, prompt, head_dim]
  float scale = 1.0f;  // finite, above 0
};

// Throws InvalidArgument or TypeMismatch unless `input` and `out` [batch, token, head * head_dim]
// keep to what is said above.
void check_causal_attention(const CausalAttentionInput& input, const TensorView& out);

// Checks, then fills `out`; here head_dim must be a multiple of 8. The same bits for a token,
// whatever its neighbours and the number of threads. Cost: 2 batch * head * head_dim * token *
// (2 prompt - token) flops.
void causal_attention(const CausalAttentionInput& input, const TensorView& out);

}  // namespace onesearch
