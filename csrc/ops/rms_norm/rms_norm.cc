#include "ops/rms_norm/rms_norm.h"

#include "core/tensor_check.h"
#include "cpu/thread_pool.h"
#include "ops/rms_norm/rms_norm_kernels.h"

namespace onesearch {
namespace {

const TensorCheck kCheck("rms_norm", TensorCheck::kAnyDevice);
// Elements that make a task worth handing to another thread: some 10 us.
constexpr int64_t kElementsPerTask = 1 << 16;

}  // namespace

void check_rms_norm(const RmsNormInput& input, const TensorView& out) {
  kCheck.floats(input.x, "x", 2);
  kCheck.contiguous_rows(input.x, "x");
  const int64_t rows = input.x.shape[0];
  const int64_t hidden = input.x.shape[1];
  kCheck.tensor(input.weight, "weight", input.x.dtype, {{"hidden", hidden}});
  kCheck.contiguous_rows(input.weight, "weight");
  kCheck.tensor(out, "out", input.x.dtype, {{"row", rows}, {"hidden", hidden}});
  kCheck.contiguous_rows(out, "out");
  kCheck.writable(out, "out");
  kCheck.one_device({{&input.x, "x"}, {&input.weight, "weight"}, {&out, "out"}});
  kCheck.eps(input.eps);
}

void rms_norm(const RmsNormInput& input, const TensorView& out) {
  check_rms_norm(input, out);
  kCheck.on_cpu(input.x, "x");
  const NormRow norm_row = rms_norm_kernels().of(input.x.dtype);
  const int64_t hidden = input.x.shape[1];
  const int64_t bytes = dtype_bytes(input.x.dtype);
  const auto row = [bytes](const TensorView& tensor, int64_t i) {
    return static_cast<unsigned char*>(tensor.data) + i * tensor.strides[0] * bytes;
  };
  const int64_t grain = grain_of(kElementsPerTask, hidden);
  parallel_for(input.x.shape[0], grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      norm_row(row(input.x, i), input.weight.data, row(out, i), hidden, input.eps);
    }
  });
}

}  // namespace onesearch
