#include "ops/causal_attention/causal_attention.h"

#include <algorithm>
#include <string>

#include "cpu/attention.h"

namespace onesearch {
namespace {

const AttentionCheck kCheck("causal_attention", "token");

AttentionSizes check(const CausalAttentionInput& input, const TensorView& out) {
  const DType dtype = input.query.dtype;
  kCheck.query(input.query, input.scale);
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

}  // namespace

void check_causal_attention(const CausalAttentionInput& input, const TensorView& out) {
  check(input, out);
}

void causal_attention(const CausalAttentionInput& input, const TensorView& out) {
  const AttentionSizes s = check(input, out);
  kCheck.computable(input.query);
  const auto keys_up_to_each = [&](int64_t request, int64_t kv_head, int64_t first_row,
                                   AttentionTile* tile) {
    tile->key = {input.key.element({request, kv_head}), input.key.strides[2]};
    tile->value = {input.value.element({request, kv_head}), input.value.strides[2]};
    for (int i = 0; i < kTileRows; ++i) {
      const int64_t token = (first_row + std::min(i, tile->rows - 1)) / s.group();
      tile->visible[i] = static_cast<uint32_t>(s.num_keys - s.tokens + token + 1);
    }
    tile->num_keys = tile->visible[kTileRows - 1];
    tile->causal = true;
  };
  attend({input.query, out, input.scale, s}, keys_up_to_each);
}

}  // namespace onesearch
