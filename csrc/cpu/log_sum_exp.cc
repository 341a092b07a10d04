#include "cpu/log_sum_exp.h"

#include <algorithm>
#include <cmath>

namespace onesearch {
namespace {

// In octaves: 2^86 times 2^40 terms is still a float.
constexpr float kReach = 86.0f;

}  // namespace

template <class T>
LogSumExp log_sum_exp(const T* row, int64_t n, const T* next) {
  const RowKernels<T>& kernels = log_sum_exp_kernels().of(row);
  RowSum terms = kernels.first_sum_of_exp2(row, n, next == nullptr ? row : next);
  if (!(std::abs(terms.maximum) < kHuge)) {
    const RowMaximum all = kernels.maximum(row, n);
    return {all.value, all.value, all.poisoned};
  }
  const float above = terms.maximum * kOctaves - terms.power;
  if (above < 0.0f || above > kReach) {
    terms = kernels.sum_of_exp2(row, n, terms.maximum * kOctaves);
  }
  // In float64, as both parts may be large and of opposite signs.
  const double octaves = double{terms.power} + std::log2(double{terms.sum});
  const float value = static_cast<float>(octaves / double{kOctaves});
  return {std::max(value, terms.maximum), terms.maximum, std::isnan(terms.sum)};
}

template LogSumExp log_sum_exp(const float*, int64_t, const float*);
template LogSumExp log_sum_exp(const BFloat16*, int64_t, const BFloat16*);
template LogSumExp log_sum_exp(const Float16*, int64_t, const Float16*);

}  // namespace onesearch
