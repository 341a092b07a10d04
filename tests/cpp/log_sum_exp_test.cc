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
void check_against_float64(int64_t n) {
  const std::vector<T> row = random_row<T>(static_cast<uint32_t>(n), n);
  double largest = -1e30;
  for (const T x : row) largest = std::max<double>(largest, to_float(x));
  double sum = 0;
  for (const T x : row) sum += std::exp(to_float(x) - largest);
  const RowMaximum maximum = row_maximum(row.data(), n);
  CHECK_EQUAL(maximum.value, static_cast<float>(largest));
  CHECK(!maximum.poisoned);
  CHECK(std::abs(sum_of_exp(row.data(), n, maximum.value) - sum) < 1e-6 * sum);
}

template <class T>
uint32_t sum_bits(IsaTier tier, int64_t n) {
  set_isa_tier(tier);
  const std::vector<T> row = random_row<T>(static_cast<uint32_t>(n), n);
  return bits_from_float(sum_of_exp(row.data(), n, row_maximum(row.data(), n).value));
}

}  // namespace

TEST(log_sum_exp_agrees_with_float64) {
  for (const IsaTier tier : usable_tiers()) {
    set_isa_tier(tier);
    for (int64_t n = 1; n < 150; ++n) {
      check_against_float64<float>(n);
      check_against_float64<BFloat16>(n);
      check_against_float64<Float16>(n);
    }
  }
}

TEST(wide_tiers_sum_to_the_same_bits) {
  if (usable_tiers().back() != IsaTier::kAvx512) return;
  for (int64_t n = 1; n < 1500; n += 7) {
    CHECK_EQUAL(sum_bits<float>(kAvx2, n), sum_bits<float>(kAvx512, n));
    CHECK_EQUAL(sum_bits<BFloat16>(kAvx2, n), sum_bits<BFloat16>(kAvx512, n));
    CHECK_EQUAL(sum_bits<Float16>(kAvx2, n), sum_bits<Float16>(kAvx512, n));
  }
}

TEST(minus_infinity_adds_nothing) {
  const std::vector<float> row = {-kInfinity, 2.0f, -kInfinity, -1e30f};
  for (const IsaTier tier : usable_tiers()) {
    set_isa_tier(tier);
    CHECK_EQUAL(row_maximum(row.data(), 4).value, 2.0f);
    CHECK_EQUAL(sum_of_exp(row.data(), 4, 2.0f), 1.0f);
    CHECK_EQUAL(row_maximum(row.data(), 0).value, -kInfinity);
  }
}

TEST(nan_and_infinity_poison_a_row_wherever_they_stand) {
  for (const IsaTier tier : usable_tiers()) {
    set_isa_tier(tier);
    for (const float bad : {kNan, -kNan, kInfinity}) {
      for (size_t at = 0; at < 101; ++at) {
        std::vector<float> row(101, -kInfinity);
        CHECK(!row_maximum(row.data(), 101).poisoned);
        row[at] = bad;
        CHECK(row_maximum(row.data(), 101).poisoned);
      }
    }
  }
}
