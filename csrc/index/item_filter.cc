#include "index/item_filter.h"

#include <utility>

namespace onesearch {
std::shared_ptr<const ItemFilter> ItemFilter::make(std::shared_ptr<const SidTrie> trie,
                                                   const ItemSelection* allow,
                                                   const ItemSelection* deny) {
  std::shared_ptr<ItemFilter> filter(new ItemFilter(std::move(trie)));
  const uint32_t num_items = filter->trie_->view().num_items;
  filter->item_bits_.assign((num_items + 63) / 64, allow == nullptr ? ~uint64_t{0} : 0);
  if (allow == nullptr && num_items % 64 != 0) {
    filter->item_bits_.back() = (uint64_t{1} << (num_items % 64)) - 1;
  }
  if (allow != nullptr) filter->select(*allow, true);
  if (deny != nullptr) filter->select(*deny, false);
  filter->derive_ranks();
  return filter;
}

void ItemFilter::select(const ItemSelection& selection, bool allowed) {
  const SidTrieView& view = trie_->view();
  if (selection.mask != nullptr) {
    for (uint32_t position = 0; position < view.num_items; ++position) {
      const int64_t row = view.item_row(position);
      if (row >= 0 && selection.mask[row]) set_item(position, allowed);
    }
    return;
  }
  for (int64_t i = 0; i < selection.num_ids; ++i) {
    const int64_t position = view.position_of(selection.ids[i]);
    if (position < 0) {
      ++num_unknown_ids_;
    } else {
      set_item(static_cast<uint32_t>(position), allowed);
    }
  }
}

void ItemFilter::set_item(uint32_t position, bool allowed) {
  const uint64_t bit = uint64_t{1} << (position % 64);
  uint64_t& word = item_bits_[position / 64];
  word = allowed ? word | bit : word & ~bit;
}

void ItemFilter::derive_ranks() {
  const SidTrieView& view = trie_->view();
  const uint32_t num_sids = view.num_sids();
  for (const uint64_t word : item_bits_) num_allowed_items_ += popcount(word);
  rank_bits_.assign((num_sids + 63) / 64, 0);
  for (uint32_t rank = 0; rank < num_sids; ++rank) {
    const NodeRange items = view.items(rank);
    bool allowed = false;
    for (uint32_t position = items.begin; position < items.end && !allowed; ++position) {
      allowed = item_allowed(position);
    }
    rank_bits_[rank / 64] |= static_cast<uint64_t>(allowed) << (rank % 64);
  }
  rank_directory_.assign(num_sids / ItemFilterView::kBlockBits + 1, 0);
  for (uint32_t word = 0; word < rank_bits_.size(); ++word) {
    if (word % (ItemFilterView::kBlockBits / 64) == 0) {
      rank_directory_[word / (ItemFilterView::kBlockBits / 64)] =
          static_cast<uint32_t>(num_allowed_sids_);
    }
    num_allowed_sids_ += popcount(rank_bits_[word]);
  }
  // A directory entry past the last word exists when the ranks fill their blocks.
  if (num_sids % ItemFilterView::kBlockBits == 0) {
    rank_directory_.back() = static_cast<uint32_t>(num_allowed_sids_);
  }
}

void ItemFilter::allows(int level, const int64_t* nodes, int64_t n, bool* allowed) const {
  const SidTrieView& view = trie_->view();
  trie_->check_level("ItemFilter.allows", level, view.num_levels);
  const ItemFilterView filter = this->view();
  for (int64_t i = 0; i < n; ++i) allowed[i] = filter.any(view.ranks(level, nodes[i]));
}

}  // namespace onesearch
