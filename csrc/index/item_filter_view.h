// A filter as host and device code read it: a bit per rank and a rank directory, by value, owning
// nothing.
#pragma once

#include <cstdint>

#include "core/portable.h"
#include "index/sid_trie_view.h"

namespace onesearch {

struct ItemFilterView {
  static constexpr uint32_t kBlockBits = 512;

  const uint64_t* rank_bits = nullptr;  // [ceil(num_ranks / 64)]
  // [num_ranks / 512 + 1], allowed ranks before each block
  const uint32_t* rank_directory = nullptr;

  // Allowed ranks among [0, rank).
  ONESEARCH_HD uint32_t allowed_before(uint32_t rank) const {
    const uint32_t block = rank / kBlockBits;
    uint32_t count = rank_directory[block];
    const uint32_t last_word = rank / 64;
    for (uint32_t word = block * (kBlockBits / 64); word < last_word; ++word) {
      count += popcount(rank_bits[word]);
    }
    const uint32_t rest = rank % 64;
    if (rest != 0) count += popcount(rank_bits[last_word] & ((uint64_t{1} << rest) - 1));
    return count;
  }

  // Whether any rank of the range is allowed. The range must lie within the ranks of the filter's
  // trie.
  ONESEARCH_HD bool any(NodeRange ranks) const {
    if (ranks.size() == 0) return false;
    if (ranks.size() == 1) return (rank_bits[ranks.begin / 64] >> (ranks.begin % 64)) & 1;
    return allowed_before(ranks.begin) < allowed_before(ranks.end);
  }
};

}  // namespace onesearch
