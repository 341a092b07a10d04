#include "cpu/log_sum_exp.h"

#include <limits>

namespace onesearch {
namespace {

constexpr int kLanes = 16;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Block {
  float lane[kLanes];
};

template <class T>
Block load(const T* at) {
  Block block;
  for (int i = 0; i < kLanes; ++i) block.lane[i] = to_float(at[i]);
  return block;
}

// The last, partial block; what lies past the row reads as -inf, which is neutral in maximum and
// sum.
template <class T>
Block load_tail(const T* at, int64_t n) {
  Block block;
  for (int i = 0; i < kLanes; ++i) block.lane[i] = i < n ? to_float(at[i]) : -kInfinity;
  return block;
}

// Calls `take` on every block of the row. The loop over whole blocks has no branch, so that
// compilers vectorise it.
template <class T, class Take>
void for_each_block(const T* row, int64_t n, Take take) {
  int64_t at = 0;
  for (; at + kLanes <= n; at += kLanes) take(load(row + at));
  if (at < n) take(load_tail(row + at, n - at));
}

// exp(x) for x <= 0 within 2 ulp, as straight arithmetic that compilers vectorise: 2^k times a
// Taylor polynomial in the rest r, |r| <= ln(2) / 2, whose eighth term is below half an ulp.
inline float exp_of_nonpositive(float x) {
  // 1.5 * 2^23: adding it rounds to an integer, kept in the low bits.
  constexpr float kShift = 12582912.0f;
  const float shifted = x * 1.44269504f + kShift;
  const float k = shifted - kShift;
  // ln(2) in two parts, the first with few enough bits that k times it is exact.
  const float r = (x - k * 0.693359375f) + k * 2.12194440e-4f;
  float p = 1.0f / 5040;
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const float power = float_from_bits((bits_from_float(shifted) + 127u) << 23);
  return x < -87.0f ? 0.0f : p * power;
}

}  // namespace

template <class T>
RowMaximum row_maximum(const T* row, int64_t n) {
  Block best;
  Block poison{};
  for (float& lane : best.lane) lane = -kInfinity;
  for_each_block(row, n, [&](const Block& block) {
    for (int i = 0; i < kLanes; ++i) {
      const float x = block.lane[i];
      best.lane[i] = x > best.lane[i] ? x : best.lane[i];
      // The comparison is false for NaN and for +inf alike.
      poison.lane[i] = x < kInfinity ? poison.lane[i] : 1.0f;
    }
  });
  RowMaximum maximum{-kInfinity, false};
  for (int i = 0; i < kLanes; ++i) {
    if (best.lane[i] > maximum.value) maximum.value = best.lane[i];
    maximum.poisoned = maximum.poisoned || poison.lane[i] != 0.0f;
  }
  return maximum;
}

template <class T>
float sum_of_exp(const T* row, int64_t n, float maximum) {
  Block sums{};
  for_each_block(row, n, [&](const Block& block) {
    for (int i = 0; i < kLanes; ++i) sums.lane[i] += exp_of_nonpositive(block.lane[i] - maximum);
  });
  float total = 0.0f;
  for (const float lane : sums.lane) total += lane;
  return total;
}

template RowMaximum row_maximum(const float*, int64_t);
template RowMaximum row_maximum(const BFloat16*, int64_t);
template RowMaximum row_maximum(const Float16*, int64_t);
template float sum_of_exp(const float*, int64_t, float);
template float sum_of_exp(const BFloat16*, int64_t, float);
template float sum_of_exp(const Float16*, int64_t, float);

}  // namespace onesearch
