#include "cpu/log_sum_exp.h"
#include "cpu/simd.h"

namespace onesearch::ONESEARCH_TIER {
namespace {

constexpr float kInfinity = __builtin_inff();
// Independent maxima, so that their latency does not bound the loop.
constexpr int kUnroll = 4;

// The last, partial block; what lies past the row is neutral in maximum and sum.
template <class T>
ONESEARCH_INLINE F32x16 load_tail(const T* row, int64_t n) {
  return F32x16::load_first(row, static_cast<int>(n), -kInfinity);
}

template <class T>
RowMaximum maximum(const T* row, int64_t n) {
  const F32x16 infinity = F32x16::broadcast(kInfinity);
  F32x16 best[kUnroll];
  Mask16 sound[kUnroll];  // below +inf, which NaN is not
  for (F32x16& lanes : best) lanes = F32x16::broadcast(-kInfinity);
  for (Mask16& lanes : sound) lanes = Mask16::first(kLanes);
  const auto take = [&](F32x16 x, int i) {
    best[i] = max(x, best[i]);
    sound[i] = sound[i] & (x < infinity);
  };
  int64_t at = 0;
  for (; at + kUnroll * kLanes <= n; at += kUnroll * kLanes) {
    for (int i = 0; i < kUnroll; ++i) take(F32x16::load(row + at + i * kLanes), i);
  }
  for (; at + kLanes <= n; at += kLanes) take(F32x16::load(row + at), 0);
  if (at < n) take(load_tail(row + at, n - at), 0);
  const F32x16 all_best = max(max(best[0], best[1]), max(best[2], best[3]));
  const Mask16 all_sound = (sound[0] & sound[1]) & (sound[2] & sound[3]);
  return {reduce_max(all_best), any(~all_sound)};
}

template <class T>
float sum_of_exp(const T* row, int64_t n, float maximum, const T* next) {
  const F32x16 offset = F32x16::broadcast(maximum);
  F32x16 sums = F32x16::zero();
  int64_t at = 0;
  for (; at + kLanes <= n; at += kLanes) {
    __builtin_prefetch(next + at);
    sums = sums + exp_or_zero(F32x16::load(row + at) - offset);
  }
  if (at < n) sums = sums + exp_or_zero(load_tail(row + at, n - at) - offset);
  return reduce_add(sums);
}

}  // namespace

extern const LogSumExpKernels log_sum_exp_kernels{
    {&maximum<float>, &sum_of_exp<float>},
    {&maximum<BFloat16>, &sum_of_exp<BFloat16>},
    {&maximum<Float16>, &sum_of_exp<Float16>},
};

}  // namespace onesearch::ONESEARCH_TIER
