// From sorted keys to the nodes of every level: a key begins a node where it leaves the path of the
// key before it.
#pragma once

#include <cstdint>

#include "cpu/isa.h"
#include "index/partition.h"
#include "index/row_table.h"

namespace onesearch {

// The edges out of one level in an image under construction. Of offsets and words of a partition at
// most one is set; neither where it is not stored.
struct LevelTarget {
  int shift = 0;  // of the level's code in a key
  uint32_t code_mask = 0;
  int token_bytes = 0;
  void* tokens = nullptr;             // [edges]
  uint32_t* child_offsets = nullptr;  // edges by the node above
  PartitionWord* child_words = nullptr;
  uint32_t* item_offsets = nullptr;  // positions by the node below
  PartitionWord* item_words = nullptr;
};

// Part of the keys, at positions [begin, end) of all; what lies around them must be readable as in
// SortedRows.
template <class Key>
struct KeySpan {
  const Key* keys;  // of position 0
  int64_t begin;
  int64_t end;
};

template <class Key>
struct NodeScanOf {
  // counts[level]: keys of the span that begin a node below an edge of `level`.
  void (*count)(const KeySpan<Key>& span, const LevelTarget* levels, int num_levels,
                uint32_t* counts);

  // Writes those nodes, numbered from first[level] on; of words, the bits where parts begin.
  // Several threads may write neighbouring spans to the same levels, which are zero before.
  void (*write)(const KeySpan<Key>& span, const LevelTarget* levels, int num_levels,
                const uint32_t* first);
};

struct NodeScan {
  NodeScanOf<uint64_t> narrow;
  NodeScanOf<WideKey> wide;
};

ONESEARCH_TIER_TABLE(NodeScan, node_scan)

}  // namespace onesearch
