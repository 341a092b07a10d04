#include "ops/add_norm/add_norm.h"

#include "core/tensor_check.h"
#include "cpu/thread_pool.h"
#include "ops/add_norm/add_norm_kernels.h"

namespace onesearch {
namespace {

const TensorCheck kCheck("add_norm", TensorCheck::kAnyDevice);
// Elements that make a task worth handing to another thread: some 10 us.
constexpr int64_t kElementsPerTask = 1 << 15;

void check_rows(const TensorView& tensor, const char* argument, const TensorView& x) {
  kCheck.tensor(tensor, argument, x.dtype, {{"row", x.shape[0]}, {"hidden", x.shape[1]}});
  kCheck.contiguous_rows(tensor, argument);
}

void check_vector(const TensorView& tensor, const char* argument, const TensorView& x) {
  kCheck.tensor(tensor, argument, x.dtype, {{"hidden", x.shape[1]}});
  kCheck.contiguous_rows(tensor, argument);
}

}  // namespace

void check_add_norm(const AddNormInput& input, const AddNormOutput& out) {
  const TensorView& x = input.x;
  kCheck.floats(x, "x", 2);
  kCheck.contiguous_rows(x, "x");
  check_rows(input.residual, "residual", x);
  check_vector(input.weight, "weight", x);
  if (input.bias != nullptr) check_vector(*input.bias, "bias", x);
  check_rows(out.sum, "out.sum", x);
  check_rows(out.normed, "out.normed", x);
  kCheck.writable(out.sum, "out.sum");
  kCheck.writable(out.normed, "out.normed");
  kCheck.one_device({{&x, "x"},
                     {&input.residual, "residual"},
                     {&input.weight, "weight"},
                     {input.bias, "bias"},
                     {&out.sum, "out.sum"},
                     {&out.normed, "out.normed"}});
  kCheck.eps(input.eps);
}

void add_norm(const AddNormInput& input, const AddNormOutput& out) {
  check_add_norm(input, out);
  kCheck.on_cpu(input.x, "x");
  const AddAndNormRow add_and_norm_row = add_norm_kernels().of(input.x.dtype);
  const int64_t hidden = input.x.shape[1];
  const void* bias = input.bias == nullptr ? nullptr : input.bias->data;
  const int64_t grain = grain_of(kElementsPerTask, hidden);
  parallel_for(input.x.shape[0], grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      add_and_norm_row({input.x.element({i}), input.residual.element({i}), input.weight.data, bias,
                        out.sum.element({i}), out.normed.element({i}), hidden, input.eps});
    }
  });
}

}  // namespace onesearch
