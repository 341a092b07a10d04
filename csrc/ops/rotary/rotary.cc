#include "ops/rotary/rotary.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "core/tensor_check.h"
#include "cpu/thread_pool.h"
#include "ops/rotary/rotary_kernels.h"

namespace onesearch {
namespace {

const TensorCheck kCheck("rotary", TensorCheck::kAnyDevice);
// Elements that make a task worth handing to another thread: some 10 us.
constexpr int64_t kElementsPerTask = 1 << 16;

RotateHead kernel(DType dtype) {
  const RotaryKernels& kernels = rotary_kernels();
  if (dtype == DType::kBFloat16) return kernels.bfloat16;
  return dtype == DType::kFloat16 ? kernels.float16 : kernels.float32;
}

unsigned char* at_offset(const TensorView& tensor, int64_t elements) {
  return static_cast<unsigned char*>(tensor.data) + elements * dtype_bytes(tensor.dtype);
}

// Where the heads of a token begin.
unsigned char* heads_of(const TensorView& tensor, int64_t request, int64_t token) {
  return at_offset(tensor, request * tensor.strides[0] + token * tensor.strides[1]);
}

void rotate_token(const RotaryInput& input, const TensorView& out, int64_t request, int64_t token) {
  const RotateHead rotate_head = kernel(input.x.dtype);
  const float* rotation = input.rotation.at<float>(request, token);
  const unsigned char* from = heads_of(input.x, request, token);
  unsigned char* to = heads_of(out, request, token);
  const int64_t bytes = dtype_bytes(input.x.dtype);
  for (int64_t head = 0; head < input.x.shape[2]; ++head) {
    const TensorView* weight = input.norm_weight;
    rotate_head(from + head * input.x.strides[2] * bytes, rotation,
                weight == nullptr ? nullptr : at_offset(*weight, head * weight->strides[0]),
                input.eps, to + head * out.strides[2] * bytes, input.x.shape[3]);
  }
}

}  // namespace

void check_rotary(const RotaryInput& input, const TensorView& out) {
  const TensorView& x = input.x;
  kCheck.floats(x, "x", 4);
  kCheck.contiguous_rows(x, "x");
  const int64_t head_dim = x.shape[3];
  if (head_dim < 2 || head_dim % 2 != 0) {
    kCheck.refuse("x", "an even head_dim of at least 2", std::to_string(head_dim));
  }
  kCheck.tensor(input.rotation, "rotation", DType::kFloat32,
                {{"batch", x.shape[0]}, {"token", x.shape[1]}, {"head_dim", head_dim}});
  kCheck.contiguous_rows(input.rotation, "rotation");
  if (input.norm_weight != nullptr) {
    kCheck.tensor(*input.norm_weight, "norm_weight", x.dtype,
                  {{"head", x.shape[2]}, {"head_dim", head_dim}});
    kCheck.contiguous_rows(*input.norm_weight, "norm_weight");
  }
  kCheck.tensor(
      out, "out", x.dtype,
      {{"batch", x.shape[0]}, {"token", x.shape[1]}, {"head", x.shape[2]}, {"head_dim", head_dim}});
  kCheck.contiguous_rows(out, "out");
  kCheck.writable(out, "out");
  kCheck.one_device({{&x, "x"},
                     {&input.rotation, "rotation"},
                     {input.norm_weight, "norm_weight"},
                     {&out, "out"}});
  if (!(std::isfinite(input.eps) && input.eps >= 0.0f)) {
    kCheck.refuse("eps", "a finite number of at least 0", std::to_string(input.eps));
  }
}

void rotary(const RotaryInput& input, const TensorView& out) {
  check_rotary(input, out);
  kCheck.on_cpu(input.x, "x");
  const int64_t tokens = input.x.shape[1];
  const int64_t elements = std::max<int64_t>(1, input.x.shape[2] * input.x.shape[3]);
  const int64_t grain = std::max<int64_t>(1, kElementsPerTask / elements);
  parallel_for(input.x.shape[0] * tokens, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) rotate_token(input, out, i / tokens, i % tokens);
  });
}

}  // namespace onesearch
