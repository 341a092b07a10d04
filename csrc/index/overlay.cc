#include "index/overlay.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "core/hash.h"

namespace onesearch {
namespace {

constexpr uint32_t kGone = 0xffffffff;

bool before_in_order(const OverlayItem& a, const OverlayItem& b) {
  if (a.sid != b.sid) return a.sid < b.sid;
  if (a.score != b.score) return a.score > b.score;
  return item_hash(a.id) < item_hash(b.id);
}

template <class T>
size_t bytes_of(const std::vector<T>& values) {
  return values.capacity() * sizeof(T);
}

template <class Lists>
size_t bytes_of_all(const Lists& lists) {
  size_t total = 0;
  for (const auto& list : lists) total += bytes_of(list);
  return total;
}

}  // namespace

class OverlayBuilder {
 public:
  OverlayBuilder(const SidTrieView& base, const Overlay* before, ItemSetView live)
      : before_(before), live_(live), num_levels_(base.num_levels), overlay_(new Overlay()) {
    std::copy_n(base.level_sizes, base.num_levels, overlay_->view_.level_sizes);
    overlay_->view_.num_levels = base.num_levels;
  }

  std::shared_ptr<const Overlay> build(std::vector<OverlayItem> added) {
    merge_items(std::move(added));
    if (overlay_->items_.empty()) return nullptr;
    count_nodes();
    fill_levels();
    fill_items();
    index_ids();
    point_view();
    return overlay_;
  }

 private:
  uint32_t num_before() const { return before_ == nullptr ? 0 : before_->num_items(); }
  uint32_t num_items() const { return static_cast<uint32_t>(overlay_->items_.size()); }

  void merge_items(std::vector<OverlayItem> added) {
    std::sort(added.begin(), added.end(), before_in_order);
    std::vector<OverlayItem>& items = overlay_->items_;
    items.reserve(num_before() + added.size());
    positions_now_.assign(num_before(), kGone);
    auto next = added.cbegin();
    for (uint32_t position = 0; position < num_before(); ++position) {
      if (!live_.has(position)) continue;
      const OverlayItem& item = before_->item(position);
      while (next != added.cend() && before_in_order(*next, item)) add(*next++);
      positions_now_[position] = num_items();
      items.push_back(item);
      items.back().source = position;
    }
    while (next != added.cend()) add(*next++);
  }

  void add(const OverlayItem& item) {
    added_positions_.push_back(num_items());
    overlay_->items_.push_back(item);
  }

  // The first level in which the item leaves the path of the one before; num_levels for one more
  // item of the same SID.
  int branch_level(uint32_t position) const {
    if (position == 0) return 0;
    const SidKey& sid = overlay_->items_[position].sid;
    const SidKey& other = overlay_->items_[position - 1].sid;
    return sid == other ? num_levels_ : sid.branch_level(other);
  }

  void count_nodes() {
    std::array<uint32_t, SidTrieView::kMaxLevels + 1> branches{};
    for (uint32_t i = 0; i < num_items(); ++i) ++branches[branch_level(i)];
    uint32_t* num_nodes = overlay_->view_.num_nodes;
    num_nodes[0] = 1;
    for (int level = 0; level < num_levels_; ++level) {
      num_nodes[level + 1] = branches[level] + (level == 0 ? 0 : num_nodes[level]);
    }
  }

  void fill_levels() {
    const SidTrieView& view = overlay_->view_;
    for (int level = 0; level < num_levels_; ++level) {
      const uint32_t edges = view.num_nodes[level + 1];
      if (view.token_bytes(level) == 1) {
        overlay_->tokens8_[level].resize(edges);
      } else {
        overlay_->tokens16_[level].resize(edges);
      }
      overlay_->child_begin_[level].resize(size_t{view.num_nodes[level]} + 1);
      overlay_->child_begin_[level].back() = edges;
      overlay_->base_nodes_[level + 1].resize(edges);
    }
    overlay_->base_nodes_[0] = {0};
    overlay_->item_begin_.reserve(size_t{view.num_sids()} + 1);
    for (uint32_t i = 0; i < num_items(); ++i) add_nodes(i);
    overlay_->item_begin_.push_back(num_items());
  }

  // The nodes that come into being with the item at `position`.
  void add_nodes(uint32_t position) {
    const int branch = branch_level(position);
    if (branch == num_levels_) return;
    const OverlayItem& item = overlay_->items_[position];
    for (int level = branch; level < num_levels_; ++level) {
      const uint32_t node = num_nodes_[level + 1]++;
      overlay_->base_nodes_[level + 1][node] = item.base_nodes[level];
      if (overlay_->view_.token_bytes(level) == 1) {
        overlay_->tokens8_[level][node] = static_cast<uint8_t>(item.sid.code(level));
      } else {
        overlay_->tokens16_[level][node] = static_cast<uint16_t>(item.sid.code(level));
      }
      if (level + 1 < num_levels_) overlay_->child_begin_[level + 1][node] = num_nodes_[level + 2];
    }
    const auto rank = static_cast<uint32_t>(overlay_->item_begin_.size());
    overlay_->item_begin_.push_back(position);
    if (item.base_nodes[num_levels_ - 1] >= 0) overlay_->ranks_over_base_.push_back(rank);
  }

  void fill_items() {
    overlay_->item_ids_.resize(num_items());
    overlay_->item_scores_.resize(num_items());
    overlay_->item_rows_.resize(num_items());
    std::iota(overlay_->item_rows_.begin(), overlay_->item_rows_.end(), 0);
    for (uint32_t i = 0; i < num_items(); ++i) {
      overlay_->item_ids_[i] = overlay_->items_[i].id;
      overlay_->item_scores_[i] = overlay_->items_[i].score;
    }
  }

  void index_ids() {
    const std::vector<int64_t>& ids = overlay_->item_ids_;
    const auto by_id = [&ids](uint32_t a, uint32_t b) { return ids[a] < ids[b]; };
    std::sort(added_positions_.begin(), added_positions_.end(), by_id);
    std::vector<uint32_t>& index = overlay_->position_by_id_;
    index.reserve(num_items());
    auto next = added_positions_.cbegin();
    for (uint32_t i = 0; i < num_before(); ++i) {
      const uint32_t position = positions_now_[before_->position_by_id_[i]];
      if (position == kGone) continue;
      while (next != added_positions_.cend() && by_id(*next, position)) index.push_back(*next++);
      index.push_back(position);
    }
    index.insert(index.end(), next, added_positions_.cend());
  }

  void point_view() {
    SidTrieView& view = overlay_->view_;
    view.num_items = num_items();
    for (int level = 0; level < num_levels_; ++level) {
      view.child_partition[level] = {view.num_nodes[level], view.num_nodes[level + 1],
                                     overlay_->child_begin_[level].data()};
      view.child_token[level] = view.token_bytes(level) == 1
                                    ? static_cast<const void*>(overlay_->tokens8_[level].data())
                                    : overlay_->tokens16_[level].data();
    }
    view.item_partition[num_levels_] = {view.num_sids(), num_items(), overlay_->item_begin_.data()};
    view.item_ids = overlay_->item_ids_.data();
    view.item_rows = overlay_->item_rows_.data();
    view.item_scores = overlay_->item_scores_.data();
    view.position_by_id = overlay_->position_by_id_.data();
  }

  const Overlay* before_;
  ItemSetView live_;
  int num_levels_;
  std::shared_ptr<Overlay> overlay_;
  std::vector<uint32_t> positions_now_;    // of the items before; kGone for one that is dead
  std::vector<uint32_t> added_positions_;  // of the items added
  std::array<uint32_t, SidTrieView::kMaxLevels + 2> num_nodes_{};  // of each level, so far
};

std::shared_ptr<const Overlay> Overlay::merge(const SidTrieView& base, const Overlay* before,
                                              ItemSetView live, std::vector<OverlayItem> added) {
  return OverlayBuilder(base, before, live).build(std::move(added));
}

int64_t Overlay::rank_over(int64_t base_rank) const {
  const int32_t* base_ranks = base_nodes_[view_.num_levels].data();
  const auto found = std::lower_bound(
      ranks_over_base_.begin(), ranks_over_base_.end(), base_rank,
      [base_ranks](uint32_t rank, int64_t wanted) { return base_ranks[rank] < wanted; });
  const bool there = found != ranks_over_base_.end() && base_ranks[*found] == base_rank;
  return there ? static_cast<int64_t>(*found) : -1;
}

size_t Overlay::nbytes() const {
  return bytes_of(items_) + bytes_of_all(tokens8_) + bytes_of_all(tokens16_) +
         bytes_of_all(child_begin_) + bytes_of_all(base_nodes_) + bytes_of(item_begin_) +
         bytes_of(item_ids_) + bytes_of(item_scores_) + bytes_of(item_rows_) +
         bytes_of(position_by_id_) + bytes_of(ranks_over_base_);
}

}  // namespace onesearch
