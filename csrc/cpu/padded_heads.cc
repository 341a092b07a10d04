#include "cpu/padded_heads.h"

#include <algorithm>
#include <cstring>

namespace onesearch {

PaddedHeads::PaddedHeads(const TensorView* heads) {
  if (heads == nullptr) return;
  view_ = *heads;
  int64_t& head_dim = view_->shape[heads->ndim - 1];
  head_dim = (head_dim + kHeadAlignment - 1) / kHeadAlignment * kHeadAlignment;
  int64_t elements = 1;
  for (int axis = heads->ndim - 1; axis >= 0; --axis) {
    view_->strides[axis] = elements;
    elements *= view_->shape[axis];
  }
  memory_.resize(elements * dtype_bytes(heads->dtype));
  view_->data = memory_.data();
  copy_heads(*heads, *view_);
}

TensorView split_heads(const TensorView& tensor, int64_t head_dim) {
  TensorView heads = tensor;
  const int last = tensor.ndim - 1;
  heads.shape[last] = tensor.shape[last] / head_dim;
  heads.strides[last] = head_dim;
  heads.shape[last + 1] = head_dim;
  heads.strides[last + 1] = 1;
  heads.ndim = tensor.ndim + 1;
  return heads;
}

TensorView joined_heads(const TensorView& heads) {
  TensorView tensor = heads;
  tensor.ndim = heads.ndim - 1;
  tensor.shape[tensor.ndim - 1] *= heads.shape[tensor.ndim];
  tensor.strides[tensor.ndim - 1] = 1;
  return tensor;
}

void copy_heads(const TensorView& from, const TensorView& to) {
  const int last = from.ndim - 1;
  const int64_t bytes = dtype_bytes(from.dtype);
  const size_t shared = std::min(from.shape[last], to.shape[last]) * bytes;
  const int64_t heads = from.numel() / std::max<int64_t>(1, from.shape[last]);
  for (int64_t head = 0; head < heads; ++head) {
    int64_t source = 0;
    int64_t target = 0;
    for (int64_t axis = last - 1, rest = head; axis >= 0; rest /= from.shape[axis--]) {
      source += rest % from.shape[axis] * from.strides[axis];
      target += rest % from.shape[axis] * to.strides[axis];
    }
    std::memcpy(static_cast<unsigned char*>(to.data) + target * bytes,
                static_cast<const unsigned char*>(from.data) + source * bytes, shared);
  }
}

}  // namespace onesearch
