// What operators of attention share: their checks, and their queries by tiles over the library's
// threads.
#pragma once

#include <cstdint>
#include <optional>

#include "core/function_ref.h"
#include "core/tensor_check.h"
#include "cpu/attention_tile.h"

namespace onesearch {

struct AttentionSizes {
  int64_t batch;
  int64_t tokens;  // that ask, of each request
  int64_t heads;
  int64_t head_dim;
  int64_t kv_heads;
  int64_t num_keys;   // of the context, at most
  int64_t num_steps;  // of own tokens

  int64_t group() const { return heads / kv_heads; }
  // Queries of a kv head: row = token * group + head of the group.
  int64_t rows() const { return tokens * group(); }
};

// `token_axis` is what the operator calls the axis of those that ask.
class AttentionCheck : public TensorCheck {
 public:
  AttentionCheck(const char* where, const char* token_axis)
      : TensorCheck(where, kAnyDevice), token_axis_(token_axis) {}

  // [batch, token, head, head_dim] with head_dim from 1 to 512.
  void query(const TensorView& query) const;
  // The one given, finite and above 0, else head_dim ** -0.5.
  float scale(std::optional<float> given, int64_t head_dim) const;
  // Heads are a multiple of kv heads.
  void heads(const AttentionSizes& sizes) const;
  // Keys or values [batch, kv_head, prompt, head_dim].
  void context(const TensorView& tensor, const char* argument, DType dtype,
               const AttentionSizes& sizes) const;
  // [batch, token, head * head_dim], writable.
  void out(const TensorView& out, DType dtype, const AttentionSizes& sizes) const;

 private:
  const char* token_axis_;
};

struct AttentionQueries {
  TensorView query;
  TensorView out;
  float scale;
  AttentionSizes sizes;
};

// Fills in what a tile is to see of keys and values, its queries and outputs being there.
using DescribeKeys =
    FunctionRef<void(int64_t request, int64_t kv_head, int64_t first_row, AttentionTile* tile)>;

// Of heads that are multiples of kHeadAlignment.
void attend(const AttentionQueries& queries, const DescribeKeys& describe_keys);

// What multiplies bfloat16 here: "amx_bf16", "avx512_bf16", or the name of the tier.
const char* bfloat16_attention();

}  // namespace onesearch
