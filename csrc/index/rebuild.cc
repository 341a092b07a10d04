#include "index/rebuild.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

namespace onesearch {
namespace {

// The living items as rows of a build's input.
class ItemRows {
 public:
  explicit ItemRows(const Snapshot& snapshot)
      : view_(snapshot.catalogue_view()), num_levels_(view_.base.num_levels) {
    const auto n = static_cast<size_t>(snapshot.num_items());
    codes_.reserve(n * num_levels_);
    ids_.reserve(n);
    scores_.reserve(n);
    origins_.reserve(n);
    walk(view_.base, view_.live_base, 0, 0, 0);
    if (view_.has_overlay()) walk(view_.overlay, view_.live_overlay, view_.base.num_items, 0, 0);
  }

  CatalogueCodes input() {
    CatalogueCodes input;
    input.codes.data = codes_.data();
    input.codes.dtype = DType::kUInt16;
    input.codes.ndim = 2;
    input.codes.shape = {static_cast<int64_t>(ids_.size()), num_levels_};
    input.codes.strides = {num_levels_, 1};
    input.level_sizes.assign(view_.base.level_sizes, view_.base.level_sizes + num_levels_);
    input.item_ids = ids_.data();
    // Scores that are all 0 are as good as none.
    input.keep_scores =
        std::any_of(scores_.begin(), scores_.end(), [](double s) { return s != 0; });
    input.item_scores = input.keep_scores ? scores_.data() : nullptr;
    return input;
  }

  // Where each row came from: a position of the base, or its size + a position of the overlay.
  uint32_t origin(uint32_t row) const { return origins_[row]; }

 private:
  // Node by node: codes of a rank alone would be found by a search a level.
  void walk(const SidTrieView& trie, const ItemSetView& live, uint32_t first_origin, int level,
            uint32_t node) {
    if (level == num_levels_) return add_items(trie, live, first_origin, trie.items(node));
    const NodeRange children = trie.children(level, node);
    for (uint32_t child = children.begin; child < children.end; ++child) {
      sid_[level] = static_cast<uint16_t>(trie.token(level, child));
      walk(trie, live, first_origin, level + 1, child);
    }
  }

  void add_items(const SidTrieView& trie, const ItemSetView& live, uint32_t first_origin,
                 NodeRange positions) {
    for (uint32_t position = positions.begin; position < positions.end; ++position) {
      if (!live.has(position)) continue;
      codes_.insert(codes_.end(), sid_.begin(), sid_.begin() + num_levels_);
      ids_.push_back(trie.item_id(position));
      origins_.push_back(first_origin + position);
      scores_.push_back(trie.item_scores == nullptr ? 0.0 : trie.item_scores[position]);
    }
  }

  CatalogueView view_;
  int num_levels_;
  std::array<uint16_t, SidTrieView::kMaxLevels> sid_{};
  std::vector<uint16_t> codes_;
  std::vector<int64_t> ids_;
  std::vector<double> scores_;
  std::vector<uint32_t> origins_;
};

// The columns of the trie that was built of the rows.
ItemColumnsHandle columns_of(const Snapshot& snapshot, const ItemRows& rows, const SidTrie& trie) {
  if (snapshot.base_columns() == nullptr) return nullptr;
  std::vector<uint32_t> positions(trie.view().num_items);
  for (uint32_t position = 0; position < positions.size(); ++position) {
    positions[position] = rows.origin(trie.view().item_rows[position]);
  }
  return ItemColumns::take(*snapshot.base_columns(), snapshot.overlay_columns().get(),
                           positions.data(), trie.view().num_items, trie.fingerprint());
}

}  // namespace

std::shared_ptr<const Generation> rebuild(const Snapshot& snapshot, const std::string& folder,
                                          uint64_t number) {
  ItemRows rows(snapshot);
  const std::shared_ptr<const SidTrie> trie = SidTrie::build(rows.input());
  const ItemColumnsHandle columns = columns_of(snapshot, rows, *trie);
  return Generation::save(folder, number, *trie, columns.get());
}

}  // namespace onesearch
