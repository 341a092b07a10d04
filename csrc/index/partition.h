// [0, num_elements) cut into consecutive, non-empty parts: a level's nodes by parent, items by SID.
// As host and device code read it: by value, owning nothing.
//
// Three forms, by the two numbers alone. As many parts as elements: part i is element i, and
// nothing is stored. Else one offset a part; or, where that is smaller, one bit an element, set
// where a part begins, with a directory of counts: 8.5 bits a part of one element against 32.
#pragma once

#include <cstdint>

#include "core/portable.h"
#include "core/select.h"

namespace onesearch {

struct NodeRange {
  uint32_t begin = 0;
  uint32_t end = 0;

  ONESEARCH_HD uint32_t size() const { return end - begin; }
};

struct Partition {
  static constexpr uint32_t kBlockWords = 8;  // a cache line
  static constexpr uint32_t kBlockBits = 64 * kBlockWords;
  static constexpr uint32_t kHintParts = 512;

  uint32_t num_parts = 0;
  uint32_t num_elements = 0;
  const uint32_t* offsets = nullptr;  // [num_parts + 1]
  // Bit num_elements closes the last part. Words are stored in whole blocks.
  const uint64_t* bits = nullptr;    // [8 * num_blocks()]
  const uint32_t* before = nullptr;  // [num_blocks()], set bits before each block
  const uint32_t* hint = nullptr;    // [num_hints()], block of every 512th set bit; the last block

  ONESEARCH_HD bool is_identity() const { return num_parts == num_elements; }
  ONESEARCH_HD uint32_t num_blocks() const { return num_elements / kBlockBits + 1; }
  ONESEARCH_HD uint32_t num_hints() const { return num_parts / kHintParts + 2; }

  // Whether bits take less memory than offsets.
  ONESEARCH_HD bool is_packed() const {
    const uint64_t packed = uint64_t{num_blocks()} * (kBlockBits / 8 + 4) + 4u * num_hints();
    return !is_identity() && packed < 4 * (uint64_t{num_parts} + 1);
  }

  // First element of `part` <= num_parts; num_elements where a file's bytes make no sense.
  ONESEARCH_HD uint32_t begin(uint32_t part) const {
    if (offsets != nullptr) return offsets[part] < num_elements ? offsets[part] : num_elements;
    return bits == nullptr ? part : select(part);
  }

  // Elements of `part` < num_parts.
  ONESEARCH_HD NodeRange range(uint32_t part) const {
    if (offsets == nullptr && bits == nullptr) return {part, part + 1};
    const uint32_t first = begin(part);
    const uint32_t last = bits == nullptr ? begin(part + 1) : next_begin(first, part);
    return first <= last ? NodeRange{first, last} : NodeRange{};
  }

  // The part that holds `element` < num_elements.
  ONESEARCH_HD uint32_t part_of(uint32_t element) const {
    if (offsets == nullptr && bits == nullptr) return element;
    const uint32_t parts_up_to = bits == nullptr ? search_offsets(element) : rank(element);
    const uint32_t part = parts_up_to - 1;  // wraps for none
    return part < num_parts ? part : 0;
  }

 private:
  // The last block with at most `part` set bits before it.
  ONESEARCH_HD uint32_t block_of(uint32_t part) const {
    uint32_t low = hint[part / kHintParts];
    uint32_t high = hint[part / kHintParts + 1];
    if (high >= num_blocks()) return num_blocks();
    while (low < high) {
      const uint32_t middle = high - (high - low) / 2;
      if (before[middle] <= part) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    return low;
  }

  ONESEARCH_HD uint32_t select(uint32_t part) const {
    const uint32_t block = block_of(part);
    if (block >= num_blocks()) return num_elements;
    uint32_t skip = part - before[block];
    const uint32_t first_word = block * kBlockWords;
    for (uint32_t word = first_word; word < first_word + kBlockWords; ++word) {
      const auto ones = static_cast<uint32_t>(popcount(bits[word]));
      if (skip < ones) return at_most_all(word * 64 + select_bit(bits[word], skip));
      skip -= ones;
    }
    return num_elements;
  }

  // begin(part + 1), mostly a few bits behind begin(part) == first.
  ONESEARCH_HD uint32_t next_begin(uint32_t first, uint32_t part) const {
    uint32_t word = first / 64;
    uint64_t rest = bits[word] & (~uint64_t{1} << (first % 64));
    while (rest == 0 && ++word % kBlockWords != 0) rest = bits[word];
    return rest != 0 ? at_most_all(word * 64 + lowest_bit(rest)) : select(part + 1);
  }

  // Set bits among [0, element].
  ONESEARCH_HD uint32_t rank(uint32_t element) const {
    const uint32_t block = element / kBlockBits;
    uint32_t count = before[block];
    for (uint32_t word = block * kBlockWords; word < element / 64; ++word) {
      count += static_cast<uint32_t>(popcount(bits[word]));
    }
    const uint64_t rest = bits[element / 64] & (~uint64_t{0} >> (63 - element % 64));
    return count + static_cast<uint32_t>(popcount(rest));
  }

  // Offsets that are at most `element`.
  ONESEARCH_HD uint32_t search_offsets(uint32_t element) const {
    uint32_t low = 0;
    uint32_t high = num_parts;
    while (low < high) {
      const uint32_t middle = low + (high - low) / 2;
      if (offsets[middle] <= element) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  }

  ONESEARCH_HD uint32_t at_most_all(uint32_t element) const {
    return element < num_elements ? element : num_elements;
  }
};

}  // namespace onesearch
