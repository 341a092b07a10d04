// A set of items as host and device code read it: one bit per item position (items in rank order),
// in chunks, with counts that make "is any item of this range in the set?" a matter of a few
// look-ups. Every subtree of a trie is a contiguous range of positions, so this answers for
// subtrees as well.
#pragma once

#include <cstdint>

#include "core/portable.h"
#include "index/sid_trie_view.h"

namespace onesearch {

// 65,536 bits: what a copy-on-write update copies. Blocks without a member, and blocks of nothing
// else, are stored once a chunk, so that a thousand items denied among a hundred million cost
// hundreds of kilobytes, not megabytes.
struct ItemChunk {
  static constexpr uint32_t kBits = 1u << 16;
  static constexpr uint32_t kWords = kBits / 64;
  static constexpr uint32_t kBlockBits = 512;
  static constexpr uint32_t kBlockWords = kBlockBits / 64;
  static constexpr uint32_t kBlocks = kBits / kBlockBits;
  static constexpr uint8_t kEmpty = 0;
  static constexpr uint8_t kFull = 1;

  uint16_t before[kBlocks];  // members of the chunk before each block
  uint8_t slot[kBlocks];     // where each block is stored: kEmpty, kFull, or one of its own
  // Behind these lie the stored blocks, [2 + own][kBlockWords] words: zeros, ones, then the others.

  ONESEARCH_HD const uint64_t* block(uint32_t index) const {
    return reinterpret_cast<const uint64_t*>(this + 1) + slot[index] * kBlockWords;
  }

  ONESEARCH_HD uint32_t block_count(uint32_t index) const {
    if (index + 1 < kBlocks) return before[index + 1] - before[index];
    uint32_t count = 0;
    for (uint32_t word = 0; word < kBlockWords; ++word) count += popcount(block(index)[word]);
    return count;
  }

  ONESEARCH_HD uint32_t count() const { return before[kBlocks - 1] + block_count(kBlocks - 1); }
};
static_assert(sizeof(ItemChunk) == 384, "blocks lie on cache lines");

struct ItemSetView {
  const ItemChunk* const* chunks = nullptr;  // [ceil(num_items / 65536)]; null: every item
  const uint32_t* before = nullptr;          // [chunks + 1], members before each chunk

  ONESEARCH_HD bool is_everything() const { return chunks == nullptr; }

  // The 512 bits from position 512 * index on; not for the set of every item.
  ONESEARCH_HD const uint64_t* block(uint32_t index) const {
    return chunks[index / ItemChunk::kBlocks]->block(index % ItemChunk::kBlocks);
  }

  // 64 bits from position 64 * index on; all ones in the set of every item.
  ONESEARCH_HD uint64_t word(uint32_t index) const {
    if (is_everything()) return ~uint64_t{0};
    return block(index / ItemChunk::kBlockWords)[index % ItemChunk::kBlockWords];
  }

  ONESEARCH_HD bool has(uint32_t position) const {
    return (word(position / 64) >> (position % 64)) & 1;
  }

  // Members among positions [0, position).
  ONESEARCH_HD uint32_t count_before(uint32_t position) const {
    if (is_everything()) return position;
    const uint32_t block_index = position / ItemChunk::kBlockBits;
    uint32_t count = count_before_block(block_index);
    const uint32_t rest = position % ItemChunk::kBlockBits;
    if (rest == 0) return count;
    const uint64_t* words = block(block_index);
    for (uint32_t at = 0; at < rest / 64; ++at) count += popcount(words[at]);
    return count + popcount(words[rest / 64] & ((uint64_t{1} << (rest % 64)) - 1));
  }

  // Whether any of the positions is a member.
  ONESEARCH_HD bool any(NodeRange positions) const {
    if (positions.size() == 0) return false;
    if (is_everything()) return true;
    const uint32_t first = positions.begin / ItemChunk::kBlockBits;
    const uint32_t last = (positions.end - 1) / ItemChunk::kBlockBits;
    if (first == last) return any_in_block(positions);
    const uint32_t last_begin = last * ItemChunk::kBlockBits;
    return any_in_block({positions.begin, (first + 1) * ItemChunk::kBlockBits}) ||
           any_in_block({last_begin, positions.end}) ||
           count_before_block(first + 1) < count_before_block(last);
  }

 private:
  ONESEARCH_HD uint32_t count_before_block(uint32_t index) const {
    const uint32_t in_chunk = index % ItemChunk::kBlocks;
    const uint32_t count = before[index / ItemChunk::kBlocks];
    // The position after the last item may open a chunk that does not exist.
    return in_chunk == 0 ? count : count + chunks[index / ItemChunk::kBlocks]->before[in_chunk];
  }

  // A range within one block, not empty.
  ONESEARCH_HD bool any_in_block(NodeRange positions) const {
    const uint32_t index = positions.begin / ItemChunk::kBlockBits;
    const ItemChunk& chunk = *chunks[index / ItemChunk::kBlocks];
    const uint8_t slot = chunk.slot[index % ItemChunk::kBlocks];
    if (slot == ItemChunk::kEmpty || slot == ItemChunk::kFull) return slot == ItemChunk::kFull;
    for (uint32_t at = positions.begin / 64; at * 64 < positions.end; ++at) {
      if ((word(at) & mask_of(at, positions)) != 0) return true;
    }
    return false;
  }

  friend struct AllowedItems;

  // The bits of word `at` that lie in the range.
  ONESEARCH_HD static uint64_t mask_of(uint32_t at, NodeRange positions) {
    uint64_t mask = ~uint64_t{0};
    if (at == positions.begin / 64) mask <<= positions.begin % 64;
    if (at == positions.end / 64) mask &= (uint64_t{1} << (positions.end % 64)) - 1;
    return mask;
  }
};

// Items that lie in both sets: a filter, and what is live. Exact without a composed bitset:
// subtrees of one level are disjoint, so all questions of a level together walk each set at most
// once.
struct AllowedItems {
  ItemSetView filter;
  ItemSetView live;

  ONESEARCH_HD bool is_everything() const { return filter.is_everything() && live.is_everything(); }

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
  // Block by block; one that is empty in either set is passed over unread.
  ONESEARCH_HD bool any_common(NodeRange positions) const {
    for (uint32_t at = positions.begin; at < positions.end;) {
      const uint32_t block_end = at - at % ItemChunk::kBlockBits + ItemChunk::kBlockBits;
      const NodeRange part{at, block_end < positions.end ? block_end : positions.end};
      if (filter.any_in_block(part) && live.any_in_block(part) && any_common_in_block(part)) {
        return true;
      }
      at = part.end;
    }
    return false;
  }

  ONESEARCH_HD bool any_common_in_block(NodeRange part) const {
    for (uint32_t at = part.begin / 64; at * 64 < part.end; ++at) {
      if ((filter.word(at) & live.word(at) & ItemSetView::mask_of(at, part)) != 0) return true;
    }
    return false;
  }
};

}  // namespace onesearch
