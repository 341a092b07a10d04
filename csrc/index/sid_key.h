// The codes of one SID as a number that sorts like the SID: 16 bits a level, the first level
// highest.
#pragma once

#include <cstdint>

namespace onesearch {

struct SidKey {
  uint64_t high = 0;  // levels 0 to 3
  uint64_t low = 0;   // levels 4 to 7

  void set_code(int level, uint32_t code) {
    word_of(level) |= static_cast<uint64_t>(code) << shift_of(level);
  }

  uint32_t code(int level) const { return (level < 4 ? high : low) >> shift_of(level) & 0xffff; }

  bool operator==(const SidKey& other) const { return high == other.high && low == other.low; }
  bool operator!=(const SidKey& other) const { return !(*this == other); }
  bool operator<(const SidKey& other) const {
    return high != other.high ? high < other.high : low < other.low;
  }

  // The first level in which two different SIDs differ.
  int branch_level(const SidKey& other) const {
    if (high != other.high) return __builtin_clzll(high ^ other.high) / 16;
    return 4 + __builtin_clzll(low ^ other.low) / 16;
  }

 private:
  static int shift_of(int level) { return 48 - 16 * (level % 4); }
  uint64_t& word_of(int level) { return level < 4 ? high : low; }
};

}  // namespace onesearch
