// The total order of candidates: score descending, then parent ascending, then token ascending,
// packed into one unsigned key. A greater key is a better candidate; keys of distinct candidates
// differ.
#pragma once

#include <cstdint>

#include "core/dtype.h"
#include "core/portable.h"

namespace onesearch {

constexpr int64_t kMaxParents = 65536;  // parent and token share the low 32 bits

// Order-preserving bits of a float that is not NaN.
ONESEARCH_HD uint32_t ordered_bits(float value) {
  const uint32_t bits = bits_from_float(value);
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

ONESEARCH_HD float float_from_ordered_bits(uint32_t ordered) {
  return float_from_bits((ordered & 0x80000000u) != 0 ? ordered & 0x7fffffffu : ~ordered);
}

ONESEARCH_HD uint64_t candidate_key(float score, uint32_t parent, uint32_t token) {
  // Adding 0 makes -0 and +0 one score, as they are one number.
  const uint64_t high = ordered_bits(score + 0.0f);
  return high << 32 | static_cast<uint32_t>(~(parent << 16 | token));
}

ONESEARCH_HD float score_of(uint64_t key) {
  return float_from_ordered_bits(static_cast<uint32_t>(key >> 32));
}

ONESEARCH_HD uint32_t parent_of(uint64_t key) { return ~static_cast<uint32_t>(key) >> 16; }

ONESEARCH_HD uint32_t token_of(uint64_t key) { return ~static_cast<uint32_t>(key) & 0xffffu; }

}  // namespace onesearch
