#include "ops/beam_attention/beam_attention.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "core/tensor_check.h"
#include "cpu/attention.h"

namespace onesearch {
namespace {

const TensorCheck kCheck("beam_attention", TensorCheck::kAnyDevice);

struct Sizes {
  int64_t batch;
  int64_t beams;
  int64_t heads;
  int64_t kv_heads;
  int64_t head_dim;
  int64_t prompt;
  int64_t num_steps;

  int64_t group() const { return heads / kv_heads; }
  int64_t rows() const { return beams * group(); }
};

Sizes sizes_of(const BeamAttentionInput& input) {
  const TensorView& query = input.query;
  const bool context = input.context.key != nullptr;
  const bool own = input.own.key != nullptr;
  return {query.shape[0],
          query.shape[1],
          query.shape[2],
          context ? input.context.key->shape[1] : input.own.key->shape[3],
          query.shape[3],
          context ? input.context.key->shape[2] : 0,
          own ? input.own.key->shape[1] : 0};
}

void check_query(const BeamAttentionInput& input) {
  const TensorView& query = input.query;
  kCheck.floats(query, "query", 4);
  kCheck.contiguous_rows(query, "query");
  const int64_t head_dim = query.shape[3];
  if (head_dim < 1 || head_dim > kMaxHeadDim) {
    kCheck.refuse("query", "head_dim from 1 to 512", std::to_string(head_dim));
  }
  if (!(std::isfinite(input.scale) && input.scale > 0.0f)) {
    kCheck.refuse("scale", "a finite number above 0", std::to_string(input.scale));
  }
}

// What the context says of sizes the query does not have.
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

void check_heads(const Sizes& s) {
  if (s.kv_heads >= 1 && s.heads >= 1 && s.heads % s.kv_heads == 0) return;
  kCheck.refuse("query", "a multiple of kv_head = " + std::to_string(s.kv_heads) + " as heads",
                std::to_string(s.heads));
}

void check_context(const BeamAttentionInput& input, const Sizes& s) {
  const BeamAttentionInput::Context& context = input.context;
  const struct {
    const TensorView& tensor;
    const char* name;
  } tensors[] = {{*context.key, "context_key"}, {*context.value, "context_value"}};
  for (const auto& [tensor, name] : tensors) {
    kCheck.tensor(tensor, name, input.query.dtype,
                  {{"batch", s.batch},
                   {"kv_head", s.kv_heads},
                   {"prompt", s.prompt},
                   {"head_dim", s.head_dim}});
    kCheck.contiguous_rows(tensor, name);
  }
  if (context.length == nullptr) return;
  kCheck.tensor(*context.length, "context_length", DType::kInt32, {{"batch", s.batch}});
  if (context.length->device != Device::kCpu) return;
  for (int64_t request = 0; request < s.batch; ++request) {
    const int32_t length = *context.length->at<int32_t>(request);
    if (length >= 0 && length <= s.prompt) continue;
    kCheck.refuse("context_length", "0 to prompt = " + std::to_string(s.prompt),
                  std::to_string(length));
  }
}

void check_ancestry(const TensorView& ancestry, const Sizes& s, int64_t own_beams) {
  kCheck.tensor(ancestry, "ancestry", DType::kInt32,
                {{"batch", s.batch}, {"beam", s.beams}, {"step", s.num_steps}});
  if (ancestry.device != Device::kCpu) return;
  for (int64_t request = 0; request < s.batch; ++request) {
    for (int64_t beam = 0; beam < s.beams; ++beam) {
      const int32_t* ancestor = ancestry.at<int32_t>(request, beam);
      for (int64_t step = 0; step < s.num_steps; ++step, ancestor += ancestry.strides[2]) {
        if (*ancestor >= 0 && *ancestor < own_beams) continue;
        kCheck.refuse("ancestry", "0 to own_beam - 1 = " + std::to_string(own_beams - 1),
                      std::to_string(*ancestor));
      }
    }
  }
}

void check_own(const BeamAttentionInput& input, const Sizes& s) {
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

void check_out(const BeamAttentionInput& input, const TensorView& out, const Sizes& s) {
  kCheck.tensor(out, "out", input.query.dtype,
                {{"batch", s.batch}, {"beam", s.beams}, {"head * head_dim", s.heads * s.head_dim}});
  kCheck.contiguous_rows(out, "out");
  kCheck.writable(out, "out");
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
Sizes check(const BeamAttentionInput& input, const TensorView& out) {
  check_query(input);
  check_presence(input);
  check_devices(input, out);
  const Sizes sizes = sizes_of(input);
  check_heads(sizes);
  if (input.context.key != nullptr) check_context(input, sizes);
  if (input.own.key != nullptr) check_own(input, sizes);
  check_out(input, out, sizes);
  return sizes;
}

OwnRows own_rows(const TensorView& tensor, int64_t request, int64_t kv_head) {
  return {tensor.element({request, 0, 0, kv_head}), tensor.strides[1], tensor.strides[2]};
}

// The tile that begins at `first_row` of a kv head's rows, row = beam * group + head of the group.
void describe_tile(const BeamAttentionInput& input, const TensorView& out, const Sizes& s,
                   int64_t request, int64_t kv_head, int64_t first_row, AttentionTile* tile) {
  tile->scale = input.scale;
  tile->rows = static_cast<int>(std::min<int64_t>(kTileRows, s.rows() - first_row));
  tile->num_keys = s.prompt;
  tile->causal = false;
  if (const auto& context = input.context; context.key != nullptr) {
    tile->key = {context.key->element({request, kv_head}), context.key->strides[2]};
    tile->value = {context.value->element({request, kv_head}), context.value->strides[2]};
    if (context.length != nullptr) tile->num_keys = *context.length->at<int32_t>(request);
  }
  if (const auto& own = input.own; own.key != nullptr) {
    tile->own_key = own_rows(*own.key, request, kv_head);
    tile->own_value = own_rows(*own.value, request, kv_head);
    tile->ancestry_stride = own.ancestry->strides[2];
  }
  for (int i = 0; i < tile->rows; ++i) {
    const int64_t beam = (first_row + i) / s.group();
    const int64_t head = kv_head * s.group() + (first_row + i) % s.group();
    tile->query[i] = input.query.element({request, beam, head});
    tile->out[i] = out.element({request, beam, head * s.head_dim});
    if (s.num_steps > 0) tile->ancestry[i] = input.own.ancestry->at<int32_t>(request, beam);
  }
}

}  // namespace

void check_beam_attention(const BeamAttentionInput& input, const TensorView& out) {
  check(input, out);
}

void beam_attention(const BeamAttentionInput& input, const TensorView& out) {
  const Sizes s = check(input, out);
  kCheck.on_cpu(input.query, "query");
  if (s.head_dim % kHeadDimAlignment != 0) {
    kCheck.refuse("query", "head_dim a multiple of 8", std::to_string(s.head_dim),
                  "pad all tensors with zeros");
  }
  const int64_t tiles = tiles_of(s.rows());
  const AttentionWork work{input.query.dtype, s.head_dim, s.prompt, s.num_steps,
                           s.batch * s.kv_heads * tiles};
  attend_tiles(work, [&](int64_t number, AttentionTile* tile) {
    const int64_t head = number / tiles;
    describe_tile(input, out, s, head / s.kv_heads, head % s.kv_heads, number % tiles * kTileRows,
                  tile);
  });
}

}  // namespace onesearch
