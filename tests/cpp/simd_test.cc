// Every tier that this processor has, against plain arithmetic and against each other.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "check.h"
#include "simd_probe.h"
#include "tiers.h"

using namespace onesearch;
using namespace onesearch::testing;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
const float kNan = std::nanf("");

float some_float(std::mt19937& random) {
  const float special[] = {0.0f, -0.0f, 1.0f, kInfinity, -kInfinity, kNan, 1e-41f, 3e38f, 65520.0f};
  if (random() % 4 == 0) return special[random() % 9];
  const float exponent = std::uniform_real_distribution<float>(-18.0f, 7.0f)(random);
  return std::exp2(exponent) * (random() % 2 == 0 ? 1.0f : -1.0f);
}

SimdLanes some_lanes(uint32_t seed) {
  std::mt19937 random(seed);
  SimdLanes lanes;
  for (float* values : {lanes.a, lanes.b, lanes.c}) {
    for (int i = 0; i < 16; ++i) values[i] = some_float(random);
  }
  for (int i = 0; i < 16; ++i) {
    lanes.m[i] = random();
    lanes.n[i] = random() % 3 == 0 ? lanes.m[i] : random();
    lanes.index[i] = random() % 16;
    if (i % 5 == 0) lanes.b[i] = lanes.a[i];
  }
  lanes.mask = random() & 0xffff;
  lanes.first = static_cast<int>(seed % 17);
  return lanes;
}

SimdFloats floats_of(IsaTier tier, const SimdLanes& lanes) {
  set_isa_tier(tier);
  SimdFloats out;
  simd_probe().floats(lanes, &out);
  return out;
}

SimdIntegers integers_of(IsaTier tier, const SimdLanes& lanes) {
  set_isa_tier(tier);
  SimdIntegers out;
  simd_probe().integers(lanes, &out);
  return out;
}

bool same(float got, float expected) {
  return (std::isnan(got) && std::isnan(expected)) || got == expected;
}

bool near(float got, float expected) {
  return same(got, expected) || std::abs(got - expected) <= 3e-7f * std::abs(expected);
}

template <class T>
float rounded(float value) {
  T narrow;
  from_float(value, &narrow);
  return to_float(narrow);
}

void check_arithmetic(const SimdLanes& in, const SimdFloats& out) {
  for (int i = 0; i < 16; ++i) {
    const float a = in.a[i];
    const float b = in.b[i];
    CHECK(same(out.add[i], a + b));
    CHECK(same(out.sub[i], a - b));
    CHECK(same(out.mul[i], a * b));
    CHECK(same(out.div[i], a / b));
    const bool fused = same(out.fma[i], std::fma(a, b, in.c[i]));
    CHECK(fused || (isa_tier() == IsaTier::kPortable && same(out.fma[i], a * b + in.c[i])));
    CHECK(same(out.sqrt[i], std::sqrt(a)));
    CHECK(same(out.max[i], a > b ? a : b));
    CHECK(same(out.min[i], a < b ? a : b));
    CHECK(same(out.negate[i], -a));
    CHECK_EQUAL(std::signbit(out.negate[i]), !std::signbit(a));
    CHECK(same(out.converted[i], static_cast<float>(static_cast<int32_t>(in.m[i]))));
  }
}

// exp over the whole range where it is 2 ulp, and what holds beyond.
float wanted_exp(float x) {
  if (x < -87.0f) return 0.0f;
  return std::exp(std::min(x, 88.0f));
}

void check_moves(const SimdLanes& in, const SimdFloats& out) {
  int kept = 0;
  for (int i = 0; i < 16; ++i) {
    const bool on = (in.mask >> i & 1) != 0;
    const bool first = i < in.first;
    const uint32_t at = in.index[i];
    CHECK(same(out.selected[i], on ? in.a[i] : in.b[i]));
    CHECK(same(out.gathered[i], on ? in.a[at] : 5.0f));
    CHECK(same(out.first[i], first ? in.a[i] : 0.0f));
    CHECK(same(out.brain[i], rounded<BFloat16>(in.a[i])));
    CHECK(same(out.half[i], rounded<Float16>(in.a[i])));
    CHECK(same(out.brain_first[i], first ? rounded<BFloat16>(in.a[i]) : -2.0f));
    CHECK(same(out.half_first[i], first ? rounded<Float16>(in.a[i]) : -2.0f));
    CHECK(same(out.brain_gathered[i], on ? rounded<BFloat16>(in.a[at]) : 5.0f));
    CHECK(same(out.half_gathered[i], on ? rounded<Float16>(in.a[at]) : 5.0f));
    CHECK(near(out.exp[i], std::isnan(in.a[i]) ? kNan : wanted_exp(in.a[i])));
    if (on) CHECK(same(out.compressed[kept++], in.a[i]));
  }
}

void check_integers(const SimdLanes& in, const SimdIntegers& out) {
  uint32_t kept = 0;
  for (int i = 0; i < 16; ++i) {
    const uint32_t m = in.m[i];
    const uint32_t n = in.n[i];
    const bool on = (in.mask >> i & 1) != 0;
    const bool first = i < in.first;
    CHECK_EQUAL(out.add[i], m + n);
    CHECK_EQUAL(out.sub[i], m - n);
    CHECK_EQUAL(out.mul[i], m * n);
    CHECK_EQUAL(out.bit_and[i], m & n);
    CHECK_EQUAL(out.bit_or[i], m | n);
    CHECK_EQUAL(out.bit_xor[i], m ^ n);
    CHECK_EQUAL(out.left[i], m << 5);
    CHECK_EQUAL(out.right[i], m >> 5);
    CHECK_EQUAL(out.selected[i], on ? m : n);
    CHECK_EQUAL(out.bits[i], m);
    CHECK_EQUAL(out.first[i], first ? m : 0);
    CHECK_EQUAL(out.from_u16[i], m & 0xffff);
    CHECK_EQUAL(out.from_u8[i], m & 0xff);
    CHECK_EQUAL(out.first_u16[i], first ? m & 0xffff : 0);
    CHECK_EQUAL(out.first_u8[i], first ? m & 0xff : 0);
    CHECK_EQUAL(out.below >> i & 1, static_cast<uint32_t>(m < n));
    CHECK_EQUAL(out.same >> i & 1, static_cast<uint32_t>(m == n));
    CHECK_EQUAL(out.less >> i & 1, static_cast<uint32_t>(in.a[i] < in.b[i]));
    CHECK_EQUAL(out.less_equal >> i & 1, static_cast<uint32_t>(in.a[i] <= in.b[i]));
    CHECK_EQUAL(out.greater >> i & 1, static_cast<uint32_t>(in.a[i] > in.b[i]));
    CHECK_EQUAL(out.greater_equal >> i & 1, static_cast<uint32_t>(in.a[i] >= in.b[i]));
    CHECK_EQUAL(out.equal >> i & 1, static_cast<uint32_t>(in.a[i] == in.b[i]));
    if (on) CHECK_EQUAL(out.compressed[kept++], m);
    if (!first) CHECK_EQUAL(out.brain_first[i].bits | out.half_first[i].bits, 0);
  }
  CHECK_EQUAL(out.num_compressed, kept);
  const uint32_t first = (1u << in.first) - 1;
  CHECK_EQUAL(out.first_mask, first);
  CHECK_EQUAL(out.mask_and, in.mask & first);
  CHECK_EQUAL(out.mask_or, in.mask | first);
  CHECK_EQUAL(out.mask_not, in.mask ^ 0xffff);
}

template <class T>
bool same_bytes(const T& a, const T& b) {
  return std::memcmp(&a, &b, sizeof a) == 0;
}

// Sixteen neighbours of the arguments of exp.
SimdLanes exponents(float from, float step) {
  SimdLanes lanes = some_lanes(0);
  for (int i = 0; i < 16; ++i) lanes.a[i] = from + step * static_cast<float>(i);
  return lanes;
}

}  // namespace

TEST(lanes_do_plain_arithmetic) {
  for (const IsaTier tier : usable_tiers()) {
    for (uint32_t seed = 0; seed < 300; ++seed) {
      const SimdLanes lanes = some_lanes(seed);
      const SimdFloats floats = floats_of(tier, lanes);
      check_arithmetic(lanes, floats);
      check_moves(lanes, floats);
      check_integers(lanes, integers_of(tier, lanes));
    }
  }
}

TEST(wide_tiers_give_the_same_bits) {
  if (usable_tiers().back() != IsaTier::kAvx512) return;
  for (uint32_t seed = 0; seed < 1000; ++seed) {
    const SimdLanes lanes = some_lanes(seed);
    CHECK(same_bytes(floats_of(IsaTier::kAvx2, lanes), floats_of(IsaTier::kAvx512, lanes)));
    CHECK(same_bytes(integers_of(IsaTier::kAvx2, lanes), integers_of(IsaTier::kAvx512, lanes)));
  }
}

TEST(exp_is_within_two_ulp) {
  for (const IsaTier tier : usable_tiers()) {
    for (float from = -90.0f; from < 90.0f; from += 0.0937f) {
      const SimdLanes lanes = exponents(from, 0.00586f);
      const SimdFloats out = floats_of(tier, lanes);
      for (int i = 0; i < 16; ++i) {
        CHECK(near(out.exp[i], wanted_exp(lanes.a[i])));
        if (lanes.a[i] <= 88.0f) CHECK(same(out.exp[i], out.exp_or_zero[i]));
      }
    }
    const SimdFloats zeros = floats_of(tier, exponents(0.0f, 0.0f));
    CHECK_EQUAL(zeros.exp[0], 1.0f);
  }
}

TEST(reductions_go_in_one_order) {
  for (const IsaTier tier : usable_tiers()) {
    SimdLanes lanes = some_lanes(1);
    std::mt19937 random(5);
    for (float& x : lanes.a) x = std::normal_distribution<float>()(random);
    const SimdFloats out = floats_of(tier, lanes);
    float sums[16];
    std::copy(lanes.a, lanes.a + 16, sums);
    for (int half = 8; half > 0; half /= 2) {
      for (int i = 0; i < half; ++i) sums[i] += sums[i + half];
    }
    CHECK_EQUAL(out.reduce_add, sums[0]);
    CHECK_EQUAL(out.reduce_max, *std::max_element(lanes.a, lanes.a + 16));
  }
}

TEST(narrow_floats_round_to_nearest_even) {
  const auto brain = [](uint32_t bits) {
    return bits_from_float(rounded<BFloat16>(float_from_bits(bits)));
  };
  CHECK_EQUAL(brain(0x3f808000u), 0x3f800000u);
  CHECK_EQUAL(brain(0x3f818000u), 0x3f820000u);
  CHECK_EQUAL(brain(0x3f808001u), 0x3f810000u);
  CHECK_EQUAL(brain(0x7f7fffffu), 0x7f800000u);
  CHECK(std::isnan(rounded<BFloat16>(float_from_bits(0x7f800001u))));
  CHECK_EQUAL(rounded<Float16>(2049.0f), 2048.0f);
  CHECK_EQUAL(rounded<Float16>(2051.0f), 2052.0f);
  CHECK_EQUAL(rounded<Float16>(65519.0f), 65504.0f);
  CHECK_EQUAL(rounded<Float16>(65520.0f), kInfinity);
  CHECK_EQUAL(rounded<Float16>(std::ldexp(1.0f, -25)), 0.0f);
  CHECK_EQUAL(rounded<Float16>(std::ldexp(1.5f, -25)), std::ldexp(1.0f, -24));
  CHECK_EQUAL(rounded<Float16>(-std::ldexp(1.0f, -14)), -std::ldexp(1.0f, -14));
  CHECK(std::isnan(rounded<Float16>(kNan)));
}
