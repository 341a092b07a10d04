#include "ops/causal_attention/causal_attention.h"

#include <algorithm>
#include <iterator>
#include <string>

#include "cpu/attention.h"
#include "cpu/padded_heads.h"

namespace onesearch {
namespace {

const AttentionCheck kCheck("causal_attention", "token");

AttentionSizes check(const CausalAttentionInput& input, const TensorView& out) {
  const DType dtype = input.query.dtype;
  kCheck.query(input.query);
  kCheck.floats(input.key, "key", 4);
  kCheck.one_device(
      {{&input.query, "query"}, {&input.key, "key"}, {&input.value, "value"}, {&out, "out"}});
  const auto& query = input.query.shape;
  const auto& key = input.key.shape;
  const AttentionSizes sizes{query[0], query[1], query[2], query[3], key[1], key[2], 0};
  kCheck.heads(sizes);
  if (sizes.tokens > sizes.num_keys) {
    kCheck.refuse("query", "at most prompt = " + std::to_string(sizes.num_keys) + " tokens",
                  std::to_string(sizes.tokens));
  }
  kCheck.context(input.key, "key", dtype, sizes);
  kCheck.context(input.value, "value", dtype, sizes);
  kCheck.out(out, dtype, sizes);
  return sizes;
}

void attend_padded(const CausalAttentionInput& input, float scale, const TensorView& out) {
  const TensorView heads = split_heads(out, input.query.shape[3]);
  const PaddedHeads query(&input.query), key(&input.key), value(&input.value), mixed(&heads);
  causal_attention({*query.view(), *key.view(), *value.view(), scale}, joined_heads(*mixed.view()));
  copy_heads(*mixed.view(), heads);
}

}  // namespace

float check_causal_attention(const CausalAttentionInput& input, const TensorView& out) {
  check(input, out);
  return kCheck.scale(input.scale, input.query.shape[3]);
}

void causal_attention(const CausalAttentionInput& input, const TensorView& out) {
  const AttentionSizes s = check(input, out);
  kCheck.on_cpu(input.query, "query");
  const float scale = kCheck.scale(input.scale, s.head_dim);
  if (s.head_dim % kHeadAlignment != 0) return attend_padded(input, scale, out);
  const auto keys_up_to_each = [&](int64_t request, int64_t kv_head, int64_t first_row,
                                   AttentionTile* tile) {
    tile->key = {input.key.element({request, kv_head}), input.key.strides[2]};
    tile->value = {input.value.element({request, kv_head}), input.value.strides[2]};
    for (int i = 0; i < tile->rows; ++i) {
      const int64_t token = (first_row + i) / s.group();
      tile->visible[i] = static_cast<uint32_t>(s.num_keys - s.tokens + token + 1);
    }
    const uint32_t last = tile->visible[tile->rows - 1];
    std::fill(tile->visible + tile->rows, std::end(tile->visible), last);
    tile->num_keys = last;
    tile->causal = true;
  };
  attend({input.query, out, scale, s}, keys_up_to_each);
}

}  // namespace onesearch
