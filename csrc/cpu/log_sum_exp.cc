#include "cpu/log_sum_exp.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace onesearch {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
// Terms are taken relative to the greatest of the first few, which is known without reading the
// row: 2^86 times 2^40 is still a float.
constexpr int64_t kHead = 64;
constexpr float kReach = 60.0f;
// The logarithm of any number of terms is lost beside a maximum so large: 2^40.
constexpr float kHuge = 1099511627776.0f;

}  // namespace

template <class T>
LogSumExp log_sum_exp(const T* row, int64_t n, const T* next) {
  const RowKernels<T>& kernels = log_sum_exp_kernels().of(row);
  const float head = kernels.maximum(row, std::min(n, kHead)).value;
  float offset = std::abs(head) < kHuge ? head : 0.0f;
  RowSum terms = kernels.sum_of_exp2(row, n, offset * kOctaves, next == nullptr ? row : next);
  if (!(std::abs(terms.maximum) < kHuge)) {
    const RowMaximum all = kernels.maximum(row, n);
    return {all.value, all.value, all.poisoned};
  }
  if (terms.maximum < offset || terms.maximum - offset > kReach) {
    offset = terms.maximum;
    terms = kernels.sum_of_exp2(row, n, offset * kOctaves, row);
  }
  // In float64, as both parts may be large and of opposite signs.
  const double octaves = static_cast<double>(offset * kOctaves) + std::log2(double{terms.sum});
  const float value = static_cast<float>(octaves / double{kOctaves});
  return {std::max(value, terms.maximum), terms.maximum, std::isnan(terms.sum)};
}

template LogSumExp log_sum_exp(const float*, int64_t, const float*);
template LogSumExp log_sum_exp(const BFloat16*, int64_t, const BFloat16*);
template LogSumExp log_sum_exp(const Float16*, int64_t, const Float16*);

}  // namespace onesearch
