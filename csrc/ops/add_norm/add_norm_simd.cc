#include "cpu/sum_of_squares.h"
#include "ops/add_norm/add_norm_kernels.h"

namespace onesearch::ONESEARCH_TIER {
namespace {

// What is taken off a row, and what is then multiplied into it.
struct Scaling {
  float mean;
  float inverse;
};

// Calls part(at, count) for every sixteen elements.
template <class Part>
ONESEARCH_INLINE void for_parts(int64_t n, const Part& part) {
  for (int64_t at = 0; at < n; at += kLanes) {
    part(at, static_cast<int>(n - at < kLanes ? n - at : kLanes));
  }
}

template <class T>
ONESEARCH_INLINE Scaling scaling_around_mean(const T* row, int64_t n, float eps) {
  F32x16 total = F32x16::zero();
  for_parts(
      n, [&](int64_t at, int count) { total = total + F32x16::load_first(row + at, count, 0.0f); });
  const float mean = reduce_add(total) / static_cast<float>(n);
  const F32x16 means = F32x16::broadcast(mean);
  F32x16 squares = F32x16::zero();
  for_parts(n, [&](int64_t at, int count) {
    const F32x16 off = F32x16::load_first(row + at, count, mean) - means;
    squares = fma(off, off, squares);
  });
  const float variance = reduce_add(squares) / static_cast<float>(n);
  return {mean, 1.0f / __builtin_sqrtf(variance + eps)};
}

template <class T>
void add_and_norm_row(const AddNormRow& row) {
  const T* x = static_cast<const T*>(row.x);
  const T* residual = static_cast<const T*>(row.residual);
  const T* weight = static_cast<const T*>(row.weight);
  const T* bias = static_cast<const T*>(row.bias);
  T* sum = static_cast<T*>(row.sum);
  T* normed = static_cast<T*>(row.normed);
  for_parts(row.n, [&](int64_t at, int count) {
    const F32x16 term = F32x16::load_first(x + at, count, 0.0f);
    (term + F32x16::load_first(residual + at, count, 0.0f)).store_first(sum + at, count);
  });
  const Scaling scaling = bias == nullptr ? Scaling{0.0f, inverse_rms(sum, row.n, row.eps)}
                                          : scaling_around_mean(sum, row.n, row.eps);
  const F32x16 mean = F32x16::broadcast(scaling.mean);
  const F32x16 inverse = F32x16::broadcast(scaling.inverse);
  for_parts(row.n, [&](int64_t at, int count) {
    const F32x16 off = F32x16::load_first(sum + at, count, 0.0f) - mean;
    const F32x16 scaled = off * inverse * F32x16::load_first(weight + at, count, 0.0f);
    const F32x16 shift =
        bias == nullptr ? F32x16::zero() : F32x16::load_first(bias + at, count, 0.0f);
    (scaled + shift).store_first(normed + at, count);
  });
}

}  // namespace

extern const FloatKernels<AddAndNormRow> add_norm_kernels{
    &add_and_norm_row<float>, &add_and_norm_row<BFloat16>, &add_and_norm_row<Float16>};

}  // namespace onesearch::ONESEARCH_TIER
