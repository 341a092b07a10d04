#include "ops/log_sum_exp/log_sum_exp.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/tensor_check.h"
#include "cpu/float_kernels.h"
#include "cpu/log_sum_exp.h"
#include "cpu/thread_pool.h"

namespace onesearch {
namespace {

const TensorCheck kCheck("log_sum_exp", TensorCheck::kAnyDevice);
// Elements that make a task worth handing to another thread: some 10 us.
constexpr int64_t kElementsPerTask = 1 << 16;

template <class T>
float of_row(const T* row, int64_t n, const T* next) {
  const LogSumExp found = log_sum_exp(row, n, next);
  if (!found.poisoned) return found.value;
  const bool nan = std::any_of(row, row + n, [](T x) { return std::isnan(to_float(x)); });
  return nan ? std::numeric_limits<float>::quiet_NaN() : std::numeric_limits<float>::infinity();
}

template <class T>
void of_rows(const TensorView& x, const TensorView& out) {
  const int64_t n = x.shape[1];
  const int64_t grain = grain_of(kElementsPerTask, n);
  parallel_for(x.shape[0], grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const T* next = i + 1 < end ? x.at<T>(i + 1) : nullptr;
      *out.at<float>(i) = of_row<T>(x.at<T>(i), n, next);
    }
  });
}

}  // namespace

void check_log_sum_exp(const TensorView& x, const TensorView& out) {
  kCheck.floats(x, "x", 2);
  kCheck.contiguous_rows(x, "x");
  kCheck.tensor(out, "out", DType::kFloat32, {{"row", x.shape[0]}});
  kCheck.writable(out, "out");
  kCheck.one_device({{&x, "x"}, {&out, "out"}});
}

void log_sum_exp(const TensorView& x, const TensorView& out) {
  check_log_sum_exp(x, out);
  kCheck.on_cpu(x, "x");
  using OfRows = void (*)(const TensorView& x, const TensorView& out);
  constexpr FloatKernels<OfRows> kOfRows{&of_rows<float>, &of_rows<BFloat16>, &of_rows<Float16>};
  kOfRows.of(x.dtype)(x, out);
}

}  // namespace onesearch
