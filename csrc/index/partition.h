// [0, num_elements) cut into consecutive, non-empty parts: a level's nodes by parent, items by SID.
// As host and device code read it: by value, owning nothing.
//
// Three forms, by the two numbers alone. As many parts as elements: part i is element i, and
// nothing is stored. Else one offset a part; or, where that is smaller, a word for every 64
// elements with a bit for each: 2 bits an element against 32 a part.
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

// Elements [64 i, 64 i + 64) of a partition, in 16 bytes, so that one look at memory tells all.
struct PartitionWord {
  uint64_t begins;  // bit e % 64: a part begins at element e; one more bit closes the last part
  uint32_t before;  // bits of the words before this one
  uint32_t hint;    // of the whole partition: the word that holds bit number 64 i, else the last
};

struct Partition {
  uint32_t num_parts = 0;
  uint32_t num_elements = 0;
  const uint32_t* offsets = nullptr;     // [num_parts + 1]
  const PartitionWord* words = nullptr;  // [num_words()]

  ONESEARCH_HD bool is_identity() const { return num_parts == num_elements; }
  ONESEARCH_HD uint32_t num_words() const { return num_elements / 64 + 1; }

  // Whether words take less memory than offsets.
  ONESEARCH_HD bool is_packed() const {
    const uint64_t packed = uint64_t{num_words()} * sizeof(PartitionWord);
    return !is_identity() && packed < sizeof(uint32_t) * (uint64_t{num_parts} + 1);
  }

  // First element of `part` <= num_parts; num_elements where a file's bytes make no sense.
  ONESEARCH_HD uint32_t begin(uint32_t part) const {
    if (words != nullptr) return select(part);
    return offsets == nullptr ? part : at_most_all(offsets[part]);
  }

  // Elements of `part` < num_parts.
  ONESEARCH_HD NodeRange range(uint32_t part) const {
    const uint32_t first = begin(part);
    const uint32_t last = words == nullptr ? begin(part + 1) : next_begin(first, part);
    return first <= last ? NodeRange{first, last} : NodeRange{};
  }

  // What range(part) reads first, and what that leads it to read; `part` < num_parts. Where many
  // ranges are asked for, all may be on their way before the first is waited for.
  ONESEARCH_HD const void* first_read(uint32_t part) const {
    return words == nullptr ? static_cast<const void*>(offsets + part) : words + part / 64;
  }
  ONESEARCH_HD const void* second_read(uint32_t part) const {
    return words == nullptr ? static_cast<const void*>(offsets + part)
                            : words + words[part / 64].hint;
  }

  // The part that holds `element` < num_elements.
  ONESEARCH_HD uint32_t part_of(uint32_t element) const {
    if (words == nullptr && offsets == nullptr) return element;
    const uint32_t begun = words == nullptr ? offsets_up_to(element) : bits_up_to(element);
    return begun - 1 < num_parts ? begun - 1 : 0;
  }

 private:
  ONESEARCH_HD uint32_t at_most_all(uint32_t element) const {
    return element < num_elements ? element : num_elements;
  }

  // The last word with at most `part` bits before it, or num_words().
  ONESEARCH_HD uint32_t word_of(uint32_t part) const {
    const uint32_t sample = part / 64;
    uint32_t low = words[sample].hint;
    uint32_t high = sample + 1 < num_words() ? words[sample + 1].hint : num_words() - 1;
    if (low > high || high >= num_words()) return num_words();
    while (low < high) {
      const uint32_t middle = high - (high - low) / 2;
      const bool reached = words[middle].before <= part;
      low = reached ? middle : low;
      high = reached ? high : middle - 1;
    }
    return low;
  }

  // Place of bit number `part`.
  ONESEARCH_HD uint32_t select(uint32_t part) const {
    const uint32_t word = word_of(part);
    if (word >= num_words()) return num_elements;
    return at_most_all(64 * word + select_bit(words[word].begins, part - words[word].before));
  }

  // begin(part + 1), most often a few bits behind begin(part) == first.
  ONESEARCH_HD uint32_t next_begin(uint32_t first, uint32_t part) const {
    const uint64_t rest = words[first / 64].begins & (~uint64_t{1} << (first % 64));
    if (rest == 0) return select(part + 1);
    return at_most_all(first / 64 * 64 + lowest_bit(rest));
  }

  // Bits at [0, element].
  ONESEARCH_HD uint32_t bits_up_to(uint32_t element) const {
    const PartitionWord& word = words[element / 64];
    return word.before + popcount(word.begins & (~uint64_t{0} >> (63 - element % 64)));
  }

  // Offsets that are at most `element`.
  ONESEARCH_HD uint32_t offsets_up_to(uint32_t element) const {
    uint32_t low = 0;
    uint32_t high = num_parts;
    while (low < high) {
      const uint32_t middle = low + (high - low) / 2;
      const bool passed = offsets[middle] <= element;
      low = passed ? middle + 1 : low;
      high = passed ? high : middle;
    }
    return low;
  }
};

}  // namespace onesearch
