#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "check.h"
#include "core/dtype.h"
#include "core/hash.h"
#include "core/ranking.h"

using namespace onesearch;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

uint64_t hash_of(const std::string& text) { return xxh64(text.data(), text.size()); }

// The value of a binary16, by its definition.
float half_value(uint16_t bits) {
  const int exponent = (bits >> 10) & 31;
  const int mantissa = bits & 1023;
  const float sign = (bits & 0x8000) != 0 ? -1.0f : 1.0f;
  if (exponent == 31) return mantissa == 0 ? sign * kInfinity : kNan;
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(mantissa), -24);
  return sign * std::ldexp(static_cast<float>(1024 + mantissa), exponent - 25);
}

}  // namespace

TEST(xxh64_gives_the_published_values) {
  CHECK_EQUAL(hash_of(""), 0xef46db3751d8e999u);
  CHECK_EQUAL(hash_of("a"), 0xd24ec4f1a98c6e5bu);
  CHECK_EQUAL(hash_of("abc"), 0x44bc2cf5ad770999u);
  CHECK_EQUAL(hash_of("Nobody inspects the spammish repetition"), 0xfbcea83c8a378bf1u);
}

TEST(item_hashes_never_tie_and_keep_their_values) {
  CHECK_EQUAL(item_hash(0), 0xe220a8397b1dcdafu);
  std::set<uint64_t> seen;
  for (int64_t id = 0; id < 20000; ++id) seen.insert(item_hash(id));
  CHECK_EQUAL(seen.size(), size_t{20000});
}

TEST(every_float16_becomes_its_value) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const float expected = half_value(static_cast<uint16_t>(bits));
    const float got = to_float(Float16{static_cast<uint16_t>(bits)});
    if (std::isnan(expected)) {
      CHECK(std::isnan(got));
    } else {
      CHECK_EQUAL(bits_from_float(got), bits_from_float(expected));
    }
  }
}

TEST(every_bfloat16_is_the_upper_half_of_a_float) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    CHECK_EQUAL(bits_from_float(to_float(BFloat16{static_cast<uint16_t>(bits)})), bits << 16);
  }
}

TEST(keys_order_as_score_then_parent_then_token) {
  const float scores[] = {-kInfinity, -3e38f, -2.0f, -1e-40f, 0.0f, 1e-40f, 1.5f, 3e38f};
  const uint32_t ids[] = {0, 1, 255, 256, 65535};
  std::vector<std::tuple<float, int64_t, int64_t, uint64_t>> all;
  for (const float score : scores) {
    for (const uint32_t parent : ids) {
      for (const uint32_t token : ids) {
        const uint64_t key = candidate_key(score, parent, token);
        CHECK_EQUAL(score_of(key), score);
        CHECK_EQUAL(parent_of(key), parent);
        CHECK_EQUAL(token_of(key), token);
        all.emplace_back(score, -int64_t{parent}, -int64_t{token}, key);
      }
    }
  }
  std::sort(all.begin(), all.end());
  for (size_t i = 1; i < all.size(); ++i) CHECK(std::get<3>(all[i - 1]) < std::get<3>(all[i]));
}

TEST(both_zeros_are_one_score) {
  CHECK_EQUAL(candidate_key(-0.0f, 3, 4), candidate_key(0.0f, 3, 4));
}
