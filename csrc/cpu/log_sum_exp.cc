#include "cpu/log_sum_exp.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace onesearch {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
// Terms are taken relative to the greatest of the first few, which is known without reading the
// row: e^60 times 65,536 is still a float.
constexpr int64_t kHead = 64;
constexpr float kReach = 60.0f;

}  // namespace

template <class T>
LogSumExp log_sum_exp(const T* row, int64_t n, const T* next) {
  const RowKernels<T>& kernels = log_sum_exp_kernels().of(row);
  const float head = kernels.maximum(row, std::min(n, kHead)).value;
  float offset = std::isfinite(head) ? head : 0.0f;
  RowSum terms = kernels.sum_of_exp(row, n, offset, next == nullptr ? row : next);
  const bool out_of_reach = terms.maximum < offset || terms.maximum - offset > kReach;
  if (out_of_reach && std::isfinite(terms.maximum)) {
    offset = terms.maximum;
    terms = kernels.sum_of_exp(row, n, offset, row);
  }
  const bool poisoned = std::isnan(terms.sum) || terms.maximum == kInfinity;
  if (poisoned || terms.maximum == -kInfinity) return {terms.maximum, terms.maximum, poisoned};
  // In float64, as offset and logarithm may be large and of opposite signs.
  const double value = static_cast<double>(offset) + std::log(static_cast<double>(terms.sum));
  return {std::max(static_cast<float>(value), terms.maximum), terms.maximum, false};
}

template LogSumExp log_sum_exp(const float*, int64_t, const float*);
template LogSumExp log_sum_exp(const BFloat16*, int64_t, const BFloat16*);
template LogSumExp log_sum_exp(const Float16*, int64_t, const Float16*);

}  // namespace onesearch
