// Which nodes of a catalogue lead to an item that lives and that a filter lets through. As host and
// device code read it, owning nothing.
#pragma once

#include "core/portable.h"
#include "index/catalogue_view.h"

namespace onesearch {

struct AllowedNodes {
  const CatalogueView* catalogue;
  AllowedItems base;
  AllowedItems overlay;

  // A null filter lets every item through.
  ONESEARCH_HD AllowedNodes(const CatalogueView& of, const CatalogueFilterView* filter)
      : catalogue(&of), base{{}, of.live_base}, overlay{{}, of.live_overlay} {
    if (filter == nullptr) return;
    base.filter = filter->base;
    overlay.filter = filter->overlay;
  }

  // Whether every node leads to such an item, so that nobody need ask.
  ONESEARCH_HD bool is_everything() const {
    return base.is_everything() && (!catalogue->has_overlay() || overlay.is_everything());
  }

  ONESEARCH_HD bool any(int level, int64_t node) const {
    const int64_t in_base = catalogue->base_node(level, node);
    if (in_base >= 0 && base.any(catalogue->base.item_range(level, in_base))) return true;
    const int64_t in_overlay = catalogue->overlay_node(level, node);
    return in_overlay >= 0 && overlay.any(catalogue->overlay.item_range(level, in_overlay));
  }
};

}  // namespace onesearch
