// The trie as host and device code read it: pointers and sizes, passed by value, owning nothing.
//
// Nodes are numbered per level. Edge e of level l is node e of level l + 1, so the children of a
// node are a contiguous range and a node of the last level is the rank of its SID. Every reader
// clamps what it reads: a trie loaded without verification may hold any bytes, and what is out of
// range counts as absent.
#pragma once

#include <cstdint>

#include "core/portable.h"

namespace onesearch {

struct NodeRange {
  uint32_t begin = 0;
  uint32_t end = 0;

  ONESEARCH_HD uint32_t size() const { return end - begin; }
};

struct SidTrieView {
  static constexpr int kMaxLevels = 8;

  int32_t num_levels = 0;
  uint32_t level_sizes[kMaxLevels] = {};
  uint32_t num_nodes[kMaxLevels + 1] = {};  // num_nodes[0] == 1, num_nodes[num_levels] SIDs
  uint32_t num_items = 0;
  const uint32_t* child_begin[kMaxLevels] = {};     // [level][num_nodes(level) + 1]
  const uint16_t* child_token[kMaxLevels] = {};     // [level][num_nodes(level + 1)]
  const uint32_t* rank_begin[kMaxLevels + 1] = {};  // [level][num_nodes(level) + 1] or null
  const uint32_t* item_begin = nullptr;             // [num_sids + 1]
  const int64_t* item_id = nullptr;                 // [num_items], items in rank order
  const uint32_t* item_row = nullptr;               // [num_items], their rows in build's input
  const uint32_t* item_by_id = nullptr;             // [num_items], their positions by ascending id

  ONESEARCH_HD uint32_t num_sids() const { return num_nodes[num_levels]; }

  // Nodes of `level + 1` below `node`; empty for a node that does not exist.
  ONESEARCH_HD NodeRange children(int level, int64_t node) const {
    if (node < 0 || node >= static_cast<int64_t>(num_nodes[level])) return {};
    return clamp(child_begin[level][node], child_begin[level][node + 1], num_nodes[level + 1]);
  }

  // The child of `node` that carries `token`, or -1.
  ONESEARCH_HD int64_t child(int level, int64_t node, int64_t token) const {
    const NodeRange range = children(level, node);
    uint32_t low = range.begin;
    uint32_t high = range.end;
    while (low < high) {
      const uint32_t middle = low + (high - low) / 2;
      if (child_token[level][middle] < token) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    const bool found = low < range.end && child_token[level][low] == token;
    return found ? static_cast<int64_t>(low) : -1;
  }

  // Number of SIDs that sort before the subtree of `node`; `node` may be num_nodes(level).
  ONESEARCH_HD uint32_t rank_before(int level, uint32_t node) const {
    for (; level < num_levels; ++level) {
      if (rank_begin[level] != nullptr) return rank_begin[level][node];
      const uint32_t child = child_begin[level][node];
      node = child < num_nodes[level + 1] ? child : num_nodes[level + 1];
    }
    return node;
  }

  // Ranks of the SIDs below `node` of `level`, which may be num_levels; empty for a node that does
  // not exist.
  ONESEARCH_HD NodeRange ranks(int level, int64_t node) const {
    if (node < 0 || node >= static_cast<int64_t>(num_nodes[level])) return {};
    const auto first = static_cast<uint32_t>(node);
    return clamp(rank_before(level, first), rank_before(level, first + 1), num_sids());
  }

  // Positions, in rank order, of the items that carry the SID of this rank.
  ONESEARCH_HD NodeRange items(int64_t rank) const {
    if (rank < 0 || rank >= static_cast<int64_t>(num_sids())) return {};
    return clamp(item_begin[rank], item_begin[rank + 1], num_items);
  }

 private:
  ONESEARCH_HD static NodeRange clamp(uint32_t begin, uint32_t end, uint32_t limit) {
    if (begin > end || end > limit) return {};
    return {begin, end};
  }
};

}  // namespace onesearch
