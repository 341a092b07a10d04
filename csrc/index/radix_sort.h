// Stable least-significant-digit radix sort of fixed-width keys with a row number as payload.
#pragma once

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

namespace onesearch {

// kWords 64-bit words, least significant first.
template <int kWords>
struct SortRecord {
  std::array<uint64_t, kWords> key;
  uint32_t row;
};

// Sorts by the low `bits[w]` bits of each word w, the last word first in significance. Digits in
// which all keys agree cost one counting pass only.
template <int kWords>
void radix_sort(std::vector<SortRecord<kWords>>& records, const std::array<int, kWords>& bits) {
  constexpr int kDigitBits = 11;
  constexpr uint64_t kMask = (uint64_t{1} << kDigitBits) - 1;
  std::vector<SortRecord<kWords>> other(records.size());
  for (int word = 0; word < kWords; ++word) {
    for (int shift = 0; shift < bits[word]; shift += kDigitBits) {
      std::array<size_t, kMask + 1> starts{};
      for (const auto& record : records) ++starts[(record.key[word] >> shift) & kMask];
      if (starts[(records.front().key[word] >> shift) & kMask] == records.size()) continue;
      size_t total = 0;
      for (size_t& start : starts) total += std::exchange(start, total);
      for (const auto& record : records) {
        other[starts[(record.key[word] >> shift) & kMask]++] = record;
      }
      records.swap(other);
    }
  }
}

}  // namespace onesearch
