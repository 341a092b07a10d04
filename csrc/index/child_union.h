// The children of a node of a catalogue as a numbered list, for threads that take them in any
// order. As host and device code read it, owning nothing.
#pragma once

#include "core/portable.h"
#include "index/catalogue_view.h"

namespace onesearch {

struct ChildUnion {
  const CatalogueView* catalogue;
  int level;
  int64_t overlay_node;  // -1: none
  NodeRange base;
  NodeRange overlay;

  ONESEARCH_HD ChildUnion(const CatalogueView& of, int at_level, int64_t node)
      : catalogue(&of),
        level(at_level),
        overlay_node(of.overlay_node(at_level, node)),
        base(of.base.children(at_level, of.base_node(at_level, node))) {
    if (overlay_node >= 0) overlay = of.overlay.children(at_level, overlay_node);
  }

  // Numbers go below this; some may be of no child.
  ONESEARCH_HD uint32_t size() const { return base.size() + overlay.size(); }

  // The token of number `i`, which may be of no child.
  ONESEARCH_HD uint32_t token(uint32_t i) const {
    const SidTrieView& trie = i < base.size() ? catalogue->base : catalogue->overlay;
    return trie.token(level, edge(i));
  }

  // The token and the node of child `i`; false where there is none: a child that both tries have is
  // the overlay's, and tokens past the level's size, as in a file that is not sound, lead nowhere.
  ONESEARCH_HD bool child(uint32_t i, uint32_t* own_token, uint32_t* node) const {
    const bool in_base = i < base.size();
    *own_token = token(i);
    *node = edge(i) + (in_base ? 0 : catalogue->base.num_nodes[level + 1]);
    if (*own_token >= catalogue->base.level_sizes[level]) return false;
    return !in_base || overlay_node < 0 ||
           catalogue->overlay.child(level, overlay_node, *own_token) < 0;
  }

 private:
  ONESEARCH_HD uint32_t edge(uint32_t i) const {
    return i < base.size() ? base.begin + i : overlay.begin + (i - base.size());
  }
};

}  // namespace onesearch
