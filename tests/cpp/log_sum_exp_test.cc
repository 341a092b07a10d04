// Maximum and sum of exponentials, on every tier that this processor has.
#include "cpu/log_sum_exp.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "check.h"
#include "tiers.h"

using namespace onesearch;
using namespace onesearch::testing;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr IsaTier kAvx2 = IsaTier::kAvx2;
constexpr IsaTier kAvx512 = IsaTier::kAvx512;

template <class T>
std::vector<T> random_row(uint32_t seed, int64_t n) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, 8.0f);
  std::vector<T> row(static_cast<size_t>(n));
  for (T& x : row) from_float(normal(random), &x);
  return row;
}

template <class T>
void check_against_float64(const std::vector<T>& row) {
  const auto n = static_cast<int64_t>(row.size());
  double largest = -kInfinity;
  for (const T x : row) largest = std::max<double>(largest, to_float(x));
  double sum = 0;
  for (const T x : row) sum += std::exp(to_float(x) - largest);
  const LogSumExp got = log_sum_exp(row.data(), n);
  const double expected = largest + std::log(sum);
  CHECK_EQUAL(got.maximum, static_cast<float>(largest));
  CHECK_EQUAL(row_maximum(row.data(), n).value, got.maximum);
  CHECK(!got.poisoned && !row_maximum(row.data(), n).poisoned);
  CHECK(got.value >= got.maximum);
  CHECK(std::abs(got.value - expected) <= 5e-7 + 1e-7 * std::abs(expected));
}

// The row, and where each of its elements is very different from the others.
void check_shifted(std::vector<float> row, float shift) {
  for (size_t at = 0; at < row.size(); at += 7) {
    row[at] += shift;
    check_against_float64(row);
    row[at] -= shift;
  }
}

template <class T>
uint32_t bits_of(IsaTier tier, int64_t n) {
  set_isa_tier(tier);
  const std::vector<T> row = random_row<T>(static_cast<uint32_t>(n), n);
  return bits_from_float(log_sum_exp(row.data(), n).value);
}

}  // namespace

TEST(log_sum_exp_agrees_with_float64) {
  for (const IsaTier tier : usable_tiers()) {
    set_isa_tier(tier);
    for (int64_t n = 1; n < 150; ++n) {
      const auto seed = static_cast<uint32_t>(n);
      check_against_float64(random_row<float>(seed, n));
      check_against_float64(random_row<BFloat16>(seed, n));
      check_against_float64(random_row<Float16>(seed, n));
    }
    check_against_float64(random_row<float>(0, 40000));
    check_against_float64(std::vector<float>(65536, 3.0f));
  }
}

TEST(log_sum_exp_takes_any_spread_of_values) {
  for (const IsaTier tier : usable_tiers()) {
    set_isa_tier(tier);
    for (const float shift : {30.0f, 59.0f, 61.0f, 90.0f, 1e4f, 3e38f}) {
      check_shifted(random_row<float>(1, 200), shift);
      check_shifted(random_row<float>(1, 200), -shift);
    }
    for (const float beginning : {-kInfinity, -3e38f, -1000.0f}) {
      std::vector<float> row = random_row<float>(2, 300);
      std::fill_n(row.begin(), 100, beginning);
      check_against_float64(row);
      for (float& x : row) x -= 1000.0f;
      check_against_float64(row);
    }
  }
}

TEST(wide_tiers_give_the_same_bits) {
  if (usable_tiers().back() != IsaTier::kAvx512) return;
  for (int64_t n = 1; n < 1500; n += 7) {
    CHECK_EQUAL(bits_of<float>(kAvx2, n), bits_of<float>(kAvx512, n));
    CHECK_EQUAL(bits_of<BFloat16>(kAvx2, n), bits_of<BFloat16>(kAvx512, n));
    CHECK_EQUAL(bits_of<Float16>(kAvx2, n), bits_of<Float16>(kAvx512, n));
  }
}

TEST(minus_infinity_adds_nothing) {
  const std::vector<float> row = {-kInfinity, 2.0f, -kInfinity, -1e30f};
  for (const IsaTier tier : usable_tiers()) {
    set_isa_tier(tier);
    CHECK_EQUAL(log_sum_exp(row.data(), 4).value, 2.0f);
    for (const int64_t n : {0, 1, 100}) {
      const std::vector<float> nothing(static_cast<size_t>(n), -kInfinity);
      CHECK_EQUAL(log_sum_exp(nothing.data(), n).value, -kInfinity);
      CHECK_EQUAL(row_maximum(nothing.data(), n).value, -kInfinity);
      CHECK(!log_sum_exp(nothing.data(), n).poisoned);
    }
  }
}

TEST(nan_and_infinity_poison_a_row_wherever_they_stand) {
  for (const IsaTier tier : usable_tiers()) {
    set_isa_tier(tier);
    for (const float bad : {kNan, -kNan, kInfinity}) {
      for (size_t at = 0; at < 101; ++at) {
        std::vector<float> row(101, -kInfinity);
        row[(at + 50) % 101] = 1.0f;
        CHECK(!row_maximum(row.data(), 101).poisoned && !log_sum_exp(row.data(), 101).poisoned);
        row[at] = bad;
        CHECK(row_maximum(row.data(), 101).poisoned && log_sum_exp(row.data(), 101).poisoned);
        row[(at + 50) % 101] = -kInfinity;
        CHECK(row_maximum(row.data(), 101).poisoned && log_sum_exp(row.data(), 101).poisoned);
      }
    }
  }
}
