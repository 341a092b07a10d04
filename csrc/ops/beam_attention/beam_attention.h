// Attention of many beams over one shared context, and over the tokens each beam has made.
//
// For beam w of request b and head h, whose kv head is g = h / (heads / kv_heads):
//     K = context_key[b, g, :context_length[b]] followed by own_key[b, t, ancestry[b, w, t], g]
//     out[b, w, h] = softmax(scale * query[b, w, h] K^T) V, V likewise; zeros if K is empty
// in float32, with a running maximum and sum: scores exist for one block of keys at a time.
#pragma once

#include <optional>

#include "core/tensor_view.h"

namespace onesearch {

// All floats are of one type, float32, bfloat16 or float16, and contiguous along head_dim.
struct BeamAttentionInput {
  // Read once for all beams and all heads of a group; all null without a context.
  struct Context {
    const TensorView* key = nullptr;     // [batch, kv_head, prompt, head_dim]
    const TensorView* value = nullptr;   // [batch, kv_head, prompt, head_dim]
    const TensorView* length = nullptr;  // [batch] int32 in [0, prompt]; null for the whole prompt
  };
  // Read where they were made; all null when beams have made nothing.
  struct Own {
    const TensorView* key = nullptr;       // [batch, step, own_beam, kv_head, head_dim]
    const TensorView* value = nullptr;     // [batch, step, own_beam, kv_head, head_dim]
    const TensorView* ancestry = nullptr;  // [batch, beam, step] int32 in [0, own_beam)
  };

  TensorView query;  // [batch, beam, head, head_dim]; head_dim at most 512
  Context context;
  Own own;
  std::optional<float> scale;  // finite, above 0; head_dim ** -0.5 where none is given
};

// Throws InvalidArgument or TypeMismatch unless `input` and `out` [batch, beam, head * head_dim]
// keep to what is said above. Returns the scale.
float check_beam_attention(const BeamAttentionInput& input, const TensorView& out);

// Checks, then fills `out`. The same bits for a request, whatever its neighbours in the batch and
// the number of threads. Cost: 4 batch * beam * head * (context_length + step) * head_dim flops,
// and a copy of everything unless head_dim is a multiple of 8.
void beam_attention(const BeamAttentionInput& input, const TensorView& out);

}  // namespace onesearch
