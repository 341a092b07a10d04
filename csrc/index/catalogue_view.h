// What a search sees of a catalogue: a base trie, the overlay of what was inserted since it was
// built, and which items live. By value, owning nothing.
//
// A node of the catalogue is a node of the base trie, or num_nodes(base, level) + a node of the
// overlay. A prefix is one node: the overlay's whenever it exists there, and its children are then
// the union by token of the overlay's children and those of the same prefix in the base.
#pragma once

#include <cstdint>

#include "core/portable.h"
#include "index/item_set_view.h"
#include "index/sid_trie_view.h"

namespace onesearch {

struct CatalogueView {
  SidTrieView base;
  SidTrieView overlay;  // num_levels 0 when nothing was inserted
  // [level][overlay.num_nodes(level)]: the node of the same prefix in the base, -1 where it has
  // none.
  const int32_t* overlay_base[SidTrieView::kMaxLevels + 1] = {};
  ItemSetView live_base;
  ItemSetView live_overlay;

  ONESEARCH_HD bool has_overlay() const { return overlay.num_levels != 0; }

  // Nodes of `level`, dead prefixes included; level num_levels gives ranks.
  ONESEARCH_HD int64_t num_nodes(int level) const {
    return static_cast<int64_t>(base.num_nodes[level]) +
           (has_overlay() ? overlay.num_nodes[level] : 0);
  }

  // The overlay's part of a node, or -1. Node 0 of level 0 is the root of both tries.
  ONESEARCH_HD int64_t overlay_node(int level, int64_t node) const {
    if (!has_overlay()) return -1;
    const int64_t own = level == 0 ? node : node - static_cast<int64_t>(base.num_nodes[level]);
    return own >= 0 && own < static_cast<int64_t>(overlay.num_nodes[level]) ? own : -1;
  }

  // The base's part of a node, or -1.
  ONESEARCH_HD int64_t base_node(int level, int64_t node) const {
    if (node >= 0 && node < static_cast<int64_t>(base.num_nodes[level])) return node;
    const int64_t own = overlay_node(level, node);
    return own < 0 ? -1 : overlay_base[level][own];
  }
};

// Which items a request may see, apart from what lives.
struct CatalogueFilterView {
  ItemSetView base;
  ItemSetView overlay;
};

}  // namespace onesearch
