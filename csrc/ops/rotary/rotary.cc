#include "ops/rotary/rotary.h"

#include <cstring>
#include <string>

#include "core/tensor_check.h"
#include "cpu/thread_pool.h"
#include "ops/rotary/rotary_kernels.h"

namespace onesearch {
namespace {

const TensorCheck kCheck("rotary", TensorCheck::kAnyDevice);
// Elements that make a task worth handing to another thread: some 10 us.
constexpr int64_t kElementsPerTask = 1 << 16;

// Rotates the heads of one token from the input's `first` on, as many as `out` has.
void rotate_heads(const RotaryInput& input, int64_t first, const TensorView& out, int64_t request,
                  int64_t token) {
  const RotateHead rotate_head = rotary_kernels().of(input.x.dtype);
  const float* rotation = input.rotation.at<float>(request, token);
  const TensorView* weight = input.norm_weight;
  for (int64_t head = 0; head < out.shape[2]; ++head) {
    rotate_head(input.x.element({request, token, first + head}), rotation,
                weight == nullptr ? nullptr : weight->element({first + head}), input.eps,
                out.element({request, token, head}), input.x.shape[3]);
  }
}

void copy_heads(const TensorView& x, int64_t first, const TensorView& out, int64_t request,
                int64_t token) {
  const size_t bytes = static_cast<size_t>(x.shape[3] * dtype_bytes(x.dtype));
  for (int64_t head = 0; head < out.shape[2]; ++head) {
    const void* from = x.element({request, token, first + head});
    void* to = out.element({request, token, head});
    if (to != from) std::memcpy(to, from, bytes);
  }
}

void check_heads(const TensorView& tensor, const char* argument, const TensorView& x,
                 int64_t heads) {
  kCheck.tensor(
      tensor, argument, x.dtype,
      {{"batch", x.shape[0]}, {"token", x.shape[1]}, {"head", heads}, {"head_dim", x.shape[3]}});
  kCheck.contiguous_rows(tensor, argument);
  kCheck.writable(tensor, argument);
}

// Heads that do not fit x are refused as queries.
void check_output(const TensorView& x, const RotaryOutput& out) {
  const int64_t kv_heads = out.key.ndim == 4 ? out.key.shape[2] : 0;
  check_heads(out.query, "out.query", x, x.shape[2] - 2 * kv_heads);
  check_heads(out.key, "out.key", x, kv_heads);
  check_heads(out.value, "out.value", x, kv_heads);
}

}  // namespace

void check_rotary(const RotaryInput& input, const RotaryOutput& out) {
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
  check_output(x, out);
  if (input.norm_weight != nullptr) {
    const int64_t rotated = out.query.shape[2] + out.key.shape[2];
    kCheck.tensor(*input.norm_weight, "norm_weight", x.dtype,
                  {{"head + kv_head", rotated}, {"head_dim", head_dim}});
    kCheck.contiguous_rows(*input.norm_weight, "norm_weight");
  }
  kCheck.one_device({{&x, "x"},
                     {&input.rotation, "rotation"},
                     {input.norm_weight, "norm_weight"},
                     {&out.query, "out.query"},
                     {&out.key, "out.key"},
                     {&out.value, "out.value"}});
  kCheck.eps(input.eps);
}

void rotary(const RotaryInput& input, const RotaryOutput& out) {
  check_rotary(input, out);
  kCheck.on_cpu(input.x, "x");
  const int64_t tokens = input.x.shape[1];
  const int64_t grain = grain_of(kElementsPerTask, input.x.shape[2] * input.x.shape[3]);
  const int64_t heads = out.query.shape[2];
  const int64_t rotated = heads + out.key.shape[2];
  parallel_for(input.x.shape[0] * tokens, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      rotate_heads(input, 0, out.query, i / tokens, i % tokens);
      rotate_heads(input, heads, out.key, i / tokens, i % tokens);
      copy_heads(input.x, rotated, out.value, i / tokens, i % tokens);
    }
  });
}

}  // namespace onesearch
