// Heads of a size that the kernels of attention do not take, copied to memory that they do.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/tensor_view.h"

namespace onesearch {

// The kernels take multiples of this.
constexpr int64_t kHeadAlignment = 8;

// A copy of [..., head_dim], filled up with zeros, which add nothing to a score.
class PaddedHeads {
 public:
  // A copy of nothing where `heads` is null.
  explicit PaddedHeads(const TensorView* heads);
  PaddedHeads(const PaddedHeads&) = delete;
  PaddedHeads& operator=(const PaddedHeads&) = delete;

  const TensorView* view() const { return view_ ? &*view_ : nullptr; }

 private:
  std::vector<unsigned char> memory_;
  std::optional<TensorView> view_;
};

// [..., head * head_dim] as [..., head, head_dim], and back where the heads are contiguous.
TensorView split_heads(const TensorView& tensor, int64_t head_dim);
TensorView joined_heads(const TensorView& heads);

// Of every head, the elements that both have.
void copy_heads(const TensorView& from, const TensorView& to);

}  // namespace onesearch
