// Which items a request may see, as bits over items and over the ranks that carry them.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "index/item_filter_view.h"
#include "index/sid_trie.h"

namespace onesearch {

// A set of items: by a mask over the rows of build's input, or by item ids. Ids the trie does not
// hold match nothing.
struct ItemSelection {
  const bool* mask = nullptr;  // [num_items]
  const int64_t* ids = nullptr;
  int64_t num_ids = 0;
};

class ItemFilter {
 public:
  // Allows the items of `allow` (all when null) that are not in `deny`. A rank is allowed when any
  // of its items is.
  static std::shared_ptr<const ItemFilter> make(std::shared_ptr<const SidTrie> trie,
                                                const ItemSelection* allow,
                                                const ItemSelection* deny);

  const SidTrie& trie() const { return *trie_; }
  ItemFilterView view() const { return {rank_bits_.data(), rank_directory_.data()}; }
  const std::vector<uint64_t>& rank_bits() const { return rank_bits_; }
  int64_t num_allowed_items() const { return num_allowed_items_; }
  int64_t num_allowed_sids() const { return num_allowed_sids_; }
  int64_t num_unknown_ids() const { return num_unknown_ids_; }

  // Position in rank order, as SidTrie.items lists them.
  bool item_allowed(uint32_t position) const {
    return (item_bits_[position / 64] >> (position % 64)) & 1;
  }

  // nodes [n] of `level` (num_levels included) -> whether an allowed item lies below.
  void allows(int level, const int64_t* nodes, int64_t n, bool* allowed) const;

 private:
  explicit ItemFilter(std::shared_ptr<const SidTrie> trie) : trie_(std::move(trie)) {}

  void select(const ItemSelection& selection, bool allowed);
  void set_item(uint32_t position, bool allowed);
  void derive_ranks();

  std::shared_ptr<const SidTrie> trie_;
  std::vector<uint64_t> item_bits_;
  std::vector<uint64_t> rank_bits_;
  std::vector<uint32_t> rank_directory_;
  int64_t num_allowed_items_ = 0;
  int64_t num_allowed_sids_ = 0;
  int64_t num_unknown_ids_ = 0;
};

}  // namespace onesearch
