// The trie as host and device code read it: pointers and sizes, passed by value, owning nothing.
//
// Nodes are numbered per level. Edge e of level l is node e of level l + 1, so the children of a
// node are a contiguous range and a node of the last level is the rank of its SID. Items stand in
// the order of their SIDs' ranks; an item's place there is its position, and the items below a node
// are a contiguous range of positions. Every reader clamps what it reads: a trie loaded without
// verification may hold any bytes, and what is out of range counts as absent.
#pragma once

#include <cstdint>

#include "core/portable.h"
#include "index/partition.h"

namespace onesearch {

struct SidTrieView {
  static constexpr int kMaxLevels = 8;

  int32_t num_levels = 0;
  uint32_t level_sizes[kMaxLevels] = {};
  uint32_t num_nodes[kMaxLevels + 1] = {};  // num_nodes[0] == 1, num_nodes[num_levels] SIDs
  uint32_t num_items = 0;
  Partition child_partition[kMaxLevels] = {};     // nodes of level + 1 by their parents
  Partition item_partition[kMaxLevels + 1] = {};  // positions by the node above; num_levels always
  const void* child_token[kMaxLevels] = {};       // [num_nodes(level + 1)], token_bytes(level) each
  const int64_t* item_ids = nullptr;              // [num_items] by position; null: rows are the ids
  const uint32_t* item_rows = nullptr;            // [num_items] by position, rows of build's input
  const uint32_t* position_by_id = nullptr;       // [num_items] by ascending id
  const float* item_scores = nullptr;             // [num_items] by position, or null: not kept

  ONESEARCH_HD uint32_t num_sids() const { return num_nodes[num_levels]; }

  ONESEARCH_HD int token_bytes(int level) const { return level_sizes[level] <= 256 ? 1 : 2; }
  ONESEARCH_HD const uint8_t* tokens8(int level) const {
    return static_cast<const uint8_t*>(child_token[level]);
  }
  ONESEARCH_HD const uint16_t* tokens16(int level) const {
    return static_cast<const uint16_t*>(child_token[level]);
  }

  // The token on edge `edge` < num_nodes(level + 1); past the level's size in a file that is not
  // sound.
  ONESEARCH_HD uint32_t token(int level, uint32_t edge) const {
    return token_bytes(level) == 1 ? tokens8(level)[edge] : tokens16(level)[edge];
  }

  // Nodes of `level + 1` below `node`; empty for a node that does not exist.
  ONESEARCH_HD NodeRange children(int level, int64_t node) const {
    if (!has_node(level, node)) return {};
    return child_partition[level].range(static_cast<uint32_t>(node));
  }

  // The child of `node` that carries `token`, or -1.
  ONESEARCH_HD int64_t child(int level, int64_t node, int64_t token) const {
    const NodeRange range = children(level, node);
    return token_bytes(level) == 1 ? find(tokens8(level), range, token)
                                   : find(tokens16(level), range, token);
  }

  // The parent of `node` of `level` >= 1, a node of level - 1.
  ONESEARCH_HD uint32_t parent(int level, uint32_t node) const {
    return child_partition[level - 1].part_of(node);
  }

  // Ranks of the SIDs below `node` of `level`, which may be num_levels; empty for a node that does
  // not exist.
  ONESEARCH_HD NodeRange ranks(int level, int64_t node) const {
    if (!has_node(level, node)) return {};
    NodeRange range{static_cast<uint32_t>(node), static_cast<uint32_t>(node) + 1};
    for (; level < num_levels; ++level) range = below(child_partition[level], range);
    return range;
  }

  // Positions of the items below `node` of `level`, which may be num_levels; empty for a node that
  // does not exist.
  ONESEARCH_HD NodeRange item_range(int level, int64_t node) const {
    if (!has_node(level, node)) return {};
    NodeRange range{static_cast<uint32_t>(node), static_cast<uint32_t>(node) + 1};
    while (item_partition[level].num_parts == 0) range = below(child_partition[level++], range);
    return below(item_partition[level], range);
  }

  // The rank of the SID that the item at `position` < num_items carries.
  ONESEARCH_HD uint32_t rank_at(uint32_t position) const {
    return item_partition[num_levels].part_of(position);
  }

  // Positions of the items that carry the SID of this rank, best first.
  ONESEARCH_HD NodeRange items(int64_t rank) const { return item_range(num_levels, rank); }

  // The row of build's input that the item at `position` < num_items came from, or -1.
  ONESEARCH_HD int64_t item_row(uint32_t position) const {
    const uint32_t row = item_rows[position];
    return row < num_items ? static_cast<int64_t>(row) : -1;
  }

  // The id of the item at `position` < num_items, or -1.
  ONESEARCH_HD int64_t item_id(uint32_t position) const {
    return item_ids != nullptr ? item_ids[position] : item_row(position);
  }

  // The position of the item with this id, or -1.
  ONESEARCH_HD int64_t position_of(int64_t item_id) const {
    if (item_id < 0) return -1;
    if (item_ids != nullptr) return search_id(item_id);
    if (item_id >= static_cast<int64_t>(num_items)) return -1;
    const uint32_t position = position_by_id[item_id];
    return position < num_items ? static_cast<int64_t>(position) : -1;
  }

 private:
  ONESEARCH_HD bool has_node(int level, int64_t node) const {
    return node >= 0 && node < static_cast<int64_t>(num_nodes[level]);
  }

  // Elements of the parts of a range, which may be empty.
  ONESEARCH_HD static NodeRange below(const Partition& partition, NodeRange parts) {
    if (parts.size() == 0) return {};
    if (parts.size() == 1) return partition.range(parts.begin);
    const uint32_t begin = partition.begin(parts.begin);
    const uint32_t end = partition.begin(parts.end);
    return begin <= end ? NodeRange{begin, end} : NodeRange{};
  }

  template <class Token>
  ONESEARCH_HD static int64_t find(const Token* tokens, NodeRange range, int64_t token) {
    uint32_t low = range.begin;
    // Without branches: where the token lies cannot be predicted.
    for (uint32_t left = range.size(); left > 0;) {
      const uint32_t half = left - left / 2;
      low = tokens[low + half - 1] < token ? low + half : low;
      left /= 2;
    }
    return low < range.end && tokens[low] == token ? static_cast<int64_t>(low) : -1;
  }

  // Strictly between `low` and `high`, the place of `wanted` if ids lie evenly from one to the
  // other.
  ONESEARCH_HD static uint32_t interpolate(uint32_t low, int64_t low_id, uint32_t high,
                                           int64_t high_id, int64_t wanted) {
    const auto part = static_cast<double>(wanted - low_id);
    const auto whole = static_cast<double>(high_id - low_id);
    const uint32_t guess = low + static_cast<uint32_t>(part / whole * (high - low));
    return guess <= low ? low + 1 : guess >= high ? high - 1 : guess;
  }

  // Ids that lie about evenly are found in log log n looks, 6 of 100M; any in 8 + log n.
  ONESEARCH_HD int64_t search_id(int64_t wanted) const {
    constexpr int kInterpolations = 8;
    uint32_t low = 0;
    uint32_t high = num_items - 1;
    int64_t low_id = id_in_order(low);
    int64_t high_id = id_in_order(high);
    if (low_id == wanted) return position_by_id[low];
    if (high_id == wanted) return position_by_id[high];
    if (low_id < 0 || wanted < low_id || wanted > high_id) return -1;
    for (int looks = 0; high - low > 1; ++looks) {
      const uint32_t guess = looks < kInterpolations
                                 ? interpolate(low, low_id, high, high_id, wanted)
                                 : low + (high - low) / 2;
      const int64_t id = id_in_order(guess);
      if (id == wanted) return position_by_id[guess];
      if (id < 0) return -1;
      if (id < wanted) {
        low = guess;
        low_id = id;
      } else {
        high = guess;
        high_id = id;
      }
    }
    return -1;
  }

  // Id number `index` in ascending order; -1 where a file's bytes make no sense.
  ONESEARCH_HD int64_t id_in_order(uint32_t index) const {
    const uint32_t position = position_by_id[index];
    return position < num_items ? item_ids[position] : -1;
  }
};

}  // namespace onesearch
