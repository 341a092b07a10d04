// The loops over items that are worth vectorising. Results are bits, one an item: words
// [ceil(n / 64)], bits past n zero. Where `join` is set they are added to what the words hold.
#pragma once

#include <cstdint>

#include "core/portable.h"
#include "cpu/isa.h"

namespace onesearch {

// Numbers of 32 or 64 bits, for membership.
struct KeySet {
  const uint64_t* keys = nullptr;  // [num_keys], ascending
  int64_t num_keys = 0;
  const uint64_t* filter = nullptr;  // [1 << filter_bits] bits, that of key_hash of each key is set
  int filter_bits = 0;               // 6 to 32

  // The upper bits of a product: the lower bits of keys that are near each other are too alike.
  ONESEARCH_HD static uint64_t hash(uint64_t key, int bits) {
    return (key * 0x9e3779b97f4a7c15u) >> (64 - bits);
  }
};

struct ItemKernels {
  // words [1024] -> members of each block of 512, counts [128]
  void (*count_blocks)(const uint64_t* words, uint16_t* counts);

  // bytes [n] -> those that are not zero
  void (*pack_bytes)(const uint8_t* bytes, int64_t n, uint64_t* words);

  // Integers of 1 << index bytes: those with value - low <= span, as unsigned ones. That is low <=
  // value <= low + span for signed and unsigned alike.
  using InRange = void (*)(const void* values, int64_t n, uint64_t low, uint64_t span, bool join,
                           uint64_t* words);
  InRange in_range[4];

  // float32, float64: low <= value <= high; never NaN. The bounds are values of the type.
  using InRealRange = void (*)(const void* values, int64_t n, double low, double high, bool join,
                               uint64_t* words);
  InRealRange in_real_range[2];

  // Unsigned integers of 1 << index bytes: bit values[i] of a table of `size` bits; 0 past it.
  using InTable = void (*)(const void* values, int64_t n, const uint64_t* table, uint32_t size,
                           uint64_t* words);
  InTable in_table[3];
  // Tables of 1 and 2 bytes up to this size lie in registers and cost little more than a range.
  uint32_t register_table_bits[2];

  // Values of 4 and 8 bytes that are among the keys.
  using InKeys = void (*)(const void* values, int64_t n, const KeySet& keys, uint64_t* words);
  InKeys in_keys[2];
};
ONESEARCH_TIER_TABLE(ItemKernels, item_kernels)

}  // namespace onesearch
