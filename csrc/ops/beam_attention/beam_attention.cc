#include "ops/beam_attention/beam_attention.h"

#include <string>

#include "cpu/attention.h"
#include "cpu/padded_heads.h"

namespace onesearch {
namespace {

const AttentionCheck kCheck("beam_attention", "beam");

// Arguments that only come together.
void check_presence(const BeamAttentionInput& input) {
  const BeamAttentionInput::Context& context = input.context;
  const BeamAttentionInput::Own& own = input.own;
  if ((context.key == nullptr) != (context.value == nullptr)) {
    kCheck.refuse("context_value", "both context_key and context_value, or neither", "one");
  }
  if (context.key == nullptr && context.length != nullptr) {
    kCheck.refuse("context_length", "none without a context", "one");
  }
  const int present = (own.key != nullptr) + (own.value != nullptr) + (own.ancestry != nullptr);
  if (present % 3 != 0) {
    kCheck.refuse("own_key", "all of own_key, own_value and ancestry, or none", "some");
  }
  if (context.key == nullptr && own.key == nullptr) {
    kCheck.refuse("context_key", "a context, own tokens, or both", "neither");
  }
  if (context.key != nullptr) kCheck.floats(*context.key, "context_key", 4);
  if (own.key != nullptr) kCheck.floats(*own.key, "own_key", 5);
}

AttentionSizes sizes_of(const BeamAttentionInput& input) {
  const auto& query = input.query.shape;
  const TensorView* key = input.context.key;
  const TensorView* own_key = input.own.key;
  return {query[0],
          query[1],
          query[2],
          query[3],
          key != nullptr ? key->shape[1] : own_key->shape[3],
          key != nullptr ? key->shape[2] : 0,
          own_key != nullptr ? own_key->shape[1] : 0};
}

void check_context(const BeamAttentionInput& input, const AttentionSizes& s) {
  const BeamAttentionInput::Context& context = input.context;
  kCheck.context(*context.key, "context_key", input.query.dtype, s);
  kCheck.context(*context.value, "context_value", input.query.dtype, s);
  if (context.length == nullptr) return;
  kCheck.tensor(*context.length, "context_length", DType::kInt32, {{"batch", s.batch}});
  if (context.length->device != Device::kCpu) return;
  for (int64_t request = 0; request < s.batch; ++request) {
    const int32_t length = *context.length->at<int32_t>(request);
    if (length >= 0 && length <= s.num_keys) continue;
    kCheck.refuse("context_length", "0 to prompt = " + std::to_string(s.num_keys),
                  std::to_string(length));
  }
}

void check_ancestry(const TensorView& ancestry, const AttentionSizes& s, int64_t own_beams) {
  kCheck.tensor(ancestry, "ancestry", DType::kInt32,
                {{"batch", s.batch}, {"beam", s.tokens}, {"step", s.num_steps}});
  if (ancestry.device != Device::kCpu) return;
  for (int64_t request = 0; request < s.batch; ++request) {
    for (int64_t beam = 0; beam < s.tokens; ++beam) {
      const int32_t* ancestor = ancestry.at<int32_t>(request, beam);
      for (int64_t step = 0; step < s.num_steps; ++step, ancestor += ancestry.strides[2]) {
        if (*ancestor >= 0 && *ancestor < own_beams) continue;
        kCheck.refuse("ancestry", "0 to own_beam - 1 = " + std::to_string(own_beams - 1),
                      std::to_string(*ancestor));
      }
    }
  }
}

void check_own(const BeamAttentionInput& input, const AttentionSizes& s) {
  const BeamAttentionInput::Own& own = input.own;
  const int64_t own_beams = own.key->shape[2];
  const struct {
    const TensorView& tensor;
    const char* name;
  } tensors[] = {{*own.key, "own_key"}, {*own.value, "own_value"}};
  for (const auto& [tensor, name] : tensors) {
    kCheck.tensor(tensor, name, input.query.dtype,
                  {{"batch", s.batch},
                   {"step", s.num_steps},
                   {"own_beam", own_beams},
                   {"kv_head", s.kv_heads},
                   {"head_dim", s.head_dim}});
    kCheck.contiguous_rows(tensor, name);
  }
  check_ancestry(*own.ancestry, s, own_beams);
}

void check_devices(const BeamAttentionInput& input, const TensorView& out) {
  kCheck.one_device({{&input.query, "query"},
                     {input.context.key, "context_key"},
                     {input.context.value, "context_value"},
                     {input.context.length, "context_length"},
                     {input.own.key, "own_key"},
                     {input.own.value, "own_value"},
                     {input.own.ancestry, "ancestry"},
                     {&out, "out"}});
}

// Values of lengths and ancestors are looked at where that takes no transfer: on the CPU.
AttentionSizes check(const BeamAttentionInput& input, const TensorView& out) {
  kCheck.query(input.query);
  check_presence(input);
  check_devices(input, out);
  const AttentionSizes sizes = sizes_of(input);
  kCheck.heads(sizes);
  if (input.context.key != nullptr) check_context(input, sizes);
  if (input.own.key != nullptr) check_own(input, sizes);
  kCheck.out(out, input.query.dtype, sizes);
  return sizes;
}

OwnRows own_rows(const TensorView& tensor, int64_t request, int64_t kv_head) {
  return {tensor.element({request, 0, 0, kv_head}), tensor.strides[1], tensor.strides[2]};
}

void describe_context(const BeamAttentionInput::Context& context, int64_t request, int64_t kv_head,
                      AttentionTile* tile) {
  tile->key = {context.key->element({request, kv_head}), context.key->strides[2]};
  tile->value = {context.value->element({request, kv_head}), context.value->strides[2]};
  if (context.length != nullptr) tile->num_keys = *context.length->at<int32_t>(request);
}

void describe_own(const BeamAttentionInput::Own& own, int64_t request, int64_t kv_head,
                  int64_t first_row, int64_t group, AttentionTile* tile) {
  tile->own_key = own_rows(*own.key, request, kv_head);
  tile->own_value = own_rows(*own.value, request, kv_head);
  tile->ancestry_stride = own.ancestry->strides[2];
  for (int i = 0; i < tile->rows; ++i) {
    tile->ancestry[i] = own.ancestry->at<int32_t>(request, (first_row + i) / group);
  }
}

void attend_padded(const BeamAttentionInput& input, float scale, const TensorView& out) {
  const TensorView heads = split_heads(out, input.query.shape[3]);
  const PaddedHeads query(&input.query), mixed(&heads);
  const PaddedHeads key(input.context.key), value(input.context.value);
  const PaddedHeads own_key(input.own.key), own_value(input.own.value);
  beam_attention({*query.view(),
                  {key.view(), value.view(), input.context.length},
                  {own_key.view(), own_value.view(), input.own.ancestry},
                  scale},
                 joined_heads(*mixed.view()));
  copy_heads(*mixed.view(), heads);
}

}  // namespace

float check_beam_attention(const BeamAttentionInput& input, const TensorView& out) {
  check(input, out);
  return kCheck.scale(input.scale, input.query.shape[3]);
}

void beam_attention(const BeamAttentionInput& input, const TensorView& out) {
  const AttentionSizes s = check(input, out);
  kCheck.on_cpu(input.query, "query");
  const float scale = kCheck.scale(input.scale, s.head_dim);
  if (s.head_dim % kHeadAlignment != 0) return attend_padded(input, scale, out);
  const auto context_and_own = [&](int64_t request, int64_t kv_head, int64_t first_row,
                                   AttentionTile* tile) {
    tile->num_keys = s.num_keys;
    tile->causal = false;
    if (input.context.key != nullptr) describe_context(input.context, request, kv_head, tile);
    if (s.num_steps == 0) return;
    describe_own(input.own, request, kv_head, first_row, s.group(), tile);
  };
  attend({input.query, out, scale, s}, context_and_own);
}

}  // namespace onesearch
