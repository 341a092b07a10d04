// Everything cpu/simd.h offers, applied to given lanes, on each tier.
#pragma once

#include <cstdint>

#include "core/dtype.h"
#include "cpu/isa.h"

namespace onesearch {

struct SimdLanes {
  float a[16];
  float b[16];
  float c[16];
  uint32_t m[16];
  uint32_t n[16];
  uint32_t index[16];  // below 16
  uint32_t mask;
  int first;
};

// Results of float operations. Lanes that no operation defines are zero.
struct SimdFloats {
  float add[16], sub[16], mul[16], div[16], fma[16], sqrt[16], max[16], min[16], negate[16];
  float selected[16], converted[16], gathered[16], compressed[16], first[16];
  float exp[16], exp_or_zero[16];
  float brain[16], half[16], brain_first[16], half_first[16];
  float brain_gathered[16], half_gathered[16];
  float reduce_add, reduce_max;
};

// Results that every tier gives alike.
struct SimdIntegers {
  uint32_t add[16], sub[16], mul[16], bit_and[16], bit_or[16], bit_xor[16], left[16], right[16];
  uint32_t selected[16], bits[16], compressed[16], first[16];
  uint32_t from_u16[16], from_u8[16], first_u16[16], first_u8[16];
  uint32_t less, less_equal, greater, greater_equal, equal, below, same;
  uint32_t mask_and, mask_or, mask_not, first_mask;
  uint32_t num_compressed;
  BFloat16 brain[16], brain_first[16];
  Float16 half[16], half_first[16];
};

struct SimdProbe {
  void (*floats)(const SimdLanes& lanes, SimdFloats* out);
  void (*integers)(const SimdLanes& lanes, SimdIntegers* out);
};

ONESEARCH_TIER_TABLE(SimdProbe, simd_probe)

}  // namespace onesearch
