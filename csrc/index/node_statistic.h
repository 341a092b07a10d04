// What the items below each node of a level have in common, as one number.
#pragma once

#include <cstdint>

#include "index/sid_trie_view.h"

namespace onesearch {

struct NodeStatistic {
  enum class Kind : int { kCount, kSum, kMean, kMax, kQuantile };

  Kind kind = Kind::kCount;
  double quantile = 0.5;  // in [0, 1], for kQuantile: between two values by linear interpolation
};

// `values` [num_items] by position -> `out` [num_nodes(level)], `level` up to num_levels; 0 for a
// node without items, which only an unverified trie has. Sums are in float64, from the first
// position to the last.
void node_statistic(const SidTrieView& trie, int level, const NodeStatistic& statistic,
                    const float* values, float* out);

// `by_row` [num_items], in the order of build's input -> `by_position`; 0 for a row out of range.
void order_by_position(const SidTrieView& trie, const float* by_row, float* by_position);

}  // namespace onesearch
