#include "ops/causal_attention/causal_attention.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "core/tensor_check.h"
#include "cpu/attention.h"

namespace onesearch {
namespace {

const TensorCheck kCheck("causal_attention", TensorCheck::kAnyDevice);

struct Sizes {
  int64_t batch;
  int64_t tokens;
  int64_t heads;
  int64_t head_dim;
  int64_t kv_heads;
  int64_t prompt;

  int64_t group() const { return heads / kv_heads; }
  int64_t rows() const { return tokens * group(); }
};

Sizes check_sizes(const CausalAttentionInput& input) {
  kCheck.floats(input.query, "query", 4);
  kCheck.floats(input.key, "key", 4);
  const auto& query = input.query.shape;
  const Sizes s{query[0], query[1], query[2], query[3], input.key.shape[1], input.key.shape[2]};
  if (s.head_dim < 1 || s.head_dim > kMaxHeadDim) {
    kCheck.refuse("query", "head_dim from 1 to 512", std::to_string(s.head_dim));
  }
  if (s.kv_heads < 1 || s.heads < 1 || s.heads % s.kv_heads != 0) {
    kCheck.refuse("query", "a multiple of kv_head = " + std::to_string(s.kv_heads) + " as heads",
                  std::to_string(s.heads));
  }
  if (s.tokens > s.prompt) {
    kCheck.refuse("query", "at most prompt = " + std::to_string(s.prompt) + " tokens",
                  std::to_string(s.tokens));
  }
  return s;
}

Sizes check(const CausalAttentionInput& input, const TensorView& out) {
  const Sizes s = check_sizes(input);
  kCheck.one_device(
      {{&input.query, "query"}, {&input.key, "key"}, {&input.value, "value"}, {&out, "out"}});
  const struct {
    const TensorView& tensor;
    const char* name;
  } tensors[] = {{input.key, "key"}, {input.value, "value"}};
  for (const auto& [tensor, name] : tensors) {
    kCheck.tensor(tensor, name, input.query.dtype,
                  {{"batch", s.batch},
                   {"kv_head", s.kv_heads},
                   {"prompt", s.prompt},
                   {"head_dim", s.head_dim}});
    kCheck.contiguous_rows(tensor, name);
  }
  kCheck.contiguous_rows(input.query, "query");
  kCheck.tensor(
      out, "out", input.query.dtype,
      {{"batch", s.batch}, {"token", s.tokens}, {"head * head_dim", s.heads * s.head_dim}});
  kCheck.contiguous_rows(out, "out");
  kCheck.writable(out, "out");
  if (!(std::isfinite(input.scale) && input.scale > 0.0f)) {
    kCheck.refuse("scale", "a finite number above 0", std::to_string(input.scale));
  }
  return s;
}

// The tile that begins at `first_row` of a kv head's rows, row = token * group + head of the group.
void describe_tile(const CausalAttentionInput& input, const TensorView& out, const Sizes& s,
                   int64_t request, int64_t kv_head, int64_t first_row, AttentionTile* tile) {
  tile->scale = input.scale;
  tile->rows = static_cast<int>(std::min<int64_t>(kTileRows, s.rows() - first_row));
  tile->key = {input.key.element({request, kv_head}), input.key.strides[2]};
  tile->value = {input.value.element({request, kv_head}), input.value.strides[2]};
  for (int i = 0; i < kTileRows; ++i) {
    const int64_t row = first_row + std::min(i, tile->rows - 1);
    const int64_t token = row / s.group();
    const int64_t head = kv_head * s.group() + row % s.group();
    tile->query[i] = input.query.element({request, token, head});
    tile->out[i] = out.element({request, token, head * s.head_dim});
    tile->visible[i] = static_cast<uint32_t>(s.prompt - s.tokens + token + 1);
  }
  tile->num_keys = tile->visible[kTileRows - 1];
  tile->causal = true;
}

}  // namespace

void check_causal_attention(const CausalAttentionInput& input, const TensorView& out) {
  check(input, out);
}

void causal_attention(const CausalAttentionInput& input, const TensorView& out) {
  const Sizes s = check(input, out);
  kCheck.on_cpu(input.query, "query");
  if (s.head_dim % kHeadDimAlignment != 0) {
    kCheck.refuse("query", "head_dim a multiple of 8", std::to_string(s.head_dim),
                  "pad all tensors with zeros");
  }
  const int64_t tiles = tiles_of(s.rows());
  const AttentionWork work{input.query.dtype, s.head_dim, s.prompt, 0,
                           s.batch * s.kv_heads * tiles};
  attend_tiles(work, [&](int64_t number, AttentionTile* tile) {
    const int64_t head = number / tiles;
    describe_tile(input, out, s, head / s.kv_heads, head % s.kv_heads, number % tiles * kTileRows,
                  tile);
  });
}

}  // namespace onesearch
