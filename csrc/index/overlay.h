// The items inserted since a generation was built, as a trie of their own: sorted arrays, immutable
// once made. The next version's is made of runs copied from this one.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "index/catalogue_view.h"
#include "index/sid_key.h"

namespace onesearch {

// The nodes of an item's prefixes of 1 to num_levels codes in the base, -1 past what the base has.
using BaseNodes = std::array<int32_t, SidTrieView::kMaxLevels>;

struct OverlayItem {
  SidKey sid;
  int64_t id;
  float score;
  uint32_t added;  // which row of AddedAttributes
  BaseNodes base_nodes;
};

// Where the attributes of added items stand (Attributes): rows [items][num_columns].
struct AddedAttributes {
  size_t num_columns = 0;
  std::vector<uint32_t> rows;
};

class Overlay {
 public:
  // What `before` (null: nothing) becomes when the items that are not in `live` go and the `added`
  // come, in any order, with ids that no living item has. Null when nothing is left. `base` is the
  // trie it lies over.
  // Cost: a copy of the arrays of `before`, about 70 bytes an item, and for each item that comes or
  // goes a search a level.
  static std::shared_ptr<const Overlay> merge(const SidTrieView& base, const Overlay* before,
                                              ItemSetView live, std::vector<OverlayItem> added,
                                              const AddedAttributes& attributes);

  // The same items with the attributes of rows `first`, first + 1, ... in the order of positions.
  std::shared_ptr<const Overlay> with_attribute_rows(uint32_t first) const;

  const SidTrieView& view() const { return view_; }
  uint32_t num_items() const { return view_.num_items; }
  size_t nbytes() const;

  OverlayItem item(uint32_t position) const;  // but for `added`

  // [num_columns][num_items]
  const std::vector<std::vector<uint32_t>>& attribute_rows() const { return attribute_rows_; }

  // The node of the same prefix in the base, for each node of `level`; -1 where it has none.
  const int32_t* base_nodes(int level) const { return base_nodes_[level].data(); }

 private:
  friend class OverlayMerge;
  Overlay(const SidTrieView& base, size_t num_columns);

  // Points view_ at the arrays.
  void show();

  // Of each level: the tokens into its children (one of the two widths), where the children of each
  // node begin, and the nodes of the base. Of the last, child_begin_ has where the items begin.
  std::array<std::vector<uint8_t>, SidTrieView::kMaxLevels> tokens8_;
  std::array<std::vector<uint16_t>, SidTrieView::kMaxLevels> tokens16_;
  std::array<std::vector<uint32_t>, SidTrieView::kMaxLevels + 1> child_begin_;
  std::array<std::vector<int32_t>, SidTrieView::kMaxLevels + 1> base_nodes_;
  std::vector<int64_t> item_ids_;
  std::vector<float> item_scores_;
  std::vector<uint32_t> position_by_id_;
  std::vector<std::vector<uint32_t>> attribute_rows_;
  SidTrieView view_;
};

}  // namespace onesearch
