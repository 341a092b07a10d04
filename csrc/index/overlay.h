// The items inserted since a generation was built, as a trie of their own: sorted arrays, immutable
// once made. A new version merges its items into those of the version before.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "index/catalogue_view.h"
#include "index/sid_key.h"

namespace onesearch {

struct OverlayItem {
  SidKey sid;
  int64_t id;
  float score;
  // Where its attributes come from: a position of the overlay before, or that overlay's size + a
  // row of what is added.
  uint32_t source;
  // The nodes of its prefixes of 1 to num_levels codes in the base, -1 past what the base has.
  // Found once, when the item comes: searching the base costs more than all the rest.
  std::array<int32_t, SidTrieView::kMaxLevels> base_nodes;
};
static_assert(sizeof(OverlayItem) == 64, "a cache line an item");

class Overlay {
 public:
  // The items of `before` (may be null) that are in `live`, and the `added`, which come in any
  // order and with ids that no live item of `before` has. Null when that is none. `base` is the
  // trie they lie over. Cost: linear in both, and a sort of what is added.
  static std::shared_ptr<const Overlay> merge(const SidTrieView& base, const Overlay* before,
                                              ItemSetView live, std::vector<OverlayItem> added);

  const SidTrieView& view() const { return view_; }
  uint32_t num_items() const { return view_.num_items; }
  const OverlayItem& item(uint32_t position) const { return items_[position]; }
  size_t nbytes() const;

  // The node of the same prefix in the base, for each node of `level`; -1 where it has none.
  const int32_t* base_nodes(int level) const { return base_nodes_[level].data(); }

  // The rank here of the SID that the base has at `base_rank`, or -1.
  int64_t rank_over(int64_t base_rank) const;

 private:
  friend class OverlayBuilder;
  Overlay() = default;

  std::vector<OverlayItem> items_;  // by SID; within one by score, then by hash of the id
  std::array<std::vector<uint8_t>, SidTrieView::kMaxLevels> tokens8_;
  std::array<std::vector<uint16_t>, SidTrieView::kMaxLevels> tokens16_;
  std::array<std::vector<uint32_t>, SidTrieView::kMaxLevels> child_begin_;
  std::array<std::vector<int32_t>, SidTrieView::kMaxLevels + 1> base_nodes_;
  std::vector<uint32_t> item_begin_;
  std::vector<int64_t> item_ids_;
  std::vector<float> item_scores_;
  std::vector<uint32_t> item_rows_;  // 0, 1, 2, ...: an overlay has no rows but its positions
  std::vector<uint32_t> position_by_id_;
  std::vector<uint32_t> ranks_over_base_;  // those whose SID the base has too; ascending in both
  SidTrieView view_;
};

}  // namespace onesearch
