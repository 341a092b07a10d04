// A set of items as host and device code read it: one bit per item position (items in rank order),
// in chunks, with counts that make "is any item of this range in the set?" a matter of two
// look-ups. Every subtree of a trie is a contiguous range of positions, so this answers for
// subtrees as well.
#pragma once

#include <cstdint>

#include "core/portable.h"
#include "index/sid_trie_view.h"

namespace onesearch {

// A chunk is what a copy-on-write update copies.
struct ItemChunk {
  static constexpr uint32_t kBits = 1u << 16;
  static constexpr uint32_t kBlockBits = 512;

  uint64_t words[kBits / 64];
  uint16_t before[kBits / kBlockBits];  // set bits of the chunk before each block
};

struct ItemSetView {
  const ItemChunk* const* chunks = nullptr;  // [ceil(num_items / 65536)]; null: every item
  const uint32_t* before = nullptr;          // [chunks + 1], set bits before each chunk

  ONESEARCH_HD bool is_everything() const { return chunks == nullptr; }

  // 64 bits from position 64 * word on; all ones in the set of every item.
  ONESEARCH_HD uint64_t word(uint32_t index) const {
    if (is_everything()) return ~uint64_t{0};
    return chunks[index / (ItemChunk::kBits / 64)]->words[index % (ItemChunk::kBits / 64)];
  }

  ONESEARCH_HD bool has(uint32_t position) const {
    return (word(position / 64) >> (position % 64)) & 1;
  }

  // Members among positions [0, position).
  ONESEARCH_HD uint32_t count_before(uint32_t position) const {
    if (is_everything()) return position;
    const uint32_t in_chunk = position % ItemChunk::kBits;
    uint32_t count = before[position / ItemChunk::kBits];
    if (in_chunk == 0) return count;
    const ItemChunk& chunk = *chunks[position / ItemChunk::kBits];
    const uint32_t block = in_chunk / ItemChunk::kBlockBits;
    count += chunk.before[block];
    for (uint32_t at = block * (ItemChunk::kBlockBits / 64); at < in_chunk / 64; ++at) {
      count += popcount(chunk.words[at]);
    }
    const uint32_t rest = in_chunk % 64;
    if (rest != 0) count += popcount(chunk.words[in_chunk / 64] & ((uint64_t{1} << rest) - 1));
    return count;
  }

  ONESEARCH_HD bool any(NodeRange positions) const {
    if (positions.size() == 0) return false;
    if (is_everything()) return true;
    if (positions.size() == 1) return has(positions.begin);
    return count_before(positions.begin) < count_before(positions.end);
  }
};

// Items that lie in both sets: a filter, and what is live. Exact without a composed bitset:
// subtrees of one level are disjoint, so all questions of a level together walk each set at most
// once.
struct AllowedItems {
  ItemSetView filter;
  ItemSetView live;

  ONESEARCH_HD bool has(uint32_t position) const {
    return filter.has(position) && live.has(position);
  }

  ONESEARCH_HD bool any(NodeRange positions) const {
    if (filter.is_everything()) return live.any(positions);
    if (live.is_everything()) return filter.any(positions);
    if (positions.size() == 1) return has(positions.begin);
    return filter.any(positions) && live.any(positions) && any_common(positions);
  }

 private:
  // Block by block; a block empty in either set is passed over by its count.
  ONESEARCH_HD bool any_common(NodeRange positions) const {
    uint32_t at = positions.begin;
    while (at < positions.end) {
      const uint32_t block_end = at - at % ItemChunk::kBlockBits + ItemChunk::kBlockBits;
      const NodeRange part{at, block_end < positions.end ? block_end : positions.end};
      if (filter.any(part) && live.any(part) && any_common_in_block(part)) return true;
      at = part.end;
    }
    return false;
  }

  ONESEARCH_HD bool any_common_in_block(NodeRange part) const {
    for (uint32_t word = part.begin / 64; word * 64 < part.end; ++word) {
      uint64_t common = filter.word(word) & live.word(word);
      if (word == part.begin / 64) common &= ~uint64_t{0} << (part.begin % 64);
      if (part.end < word * 64 + 64) common &= (uint64_t{1} << (part.end % 64)) - 1;
      if (common != 0) return true;
    }
    return false;
  }
};

}  // namespace onesearch
