// One version of a live catalogue: immutable, counted by reference. A search keeps the snapshot it
// began with.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "index/attributes.h"
#include "index/catalogue.h"
#include "index/generation.h"
#include "index/item_set.h"
#include "index/overlay.h"

namespace onesearch {

class Snapshot : public Catalogue {
 public:
  // The items of a generation that still live, and what was inserted over it.
  struct Content {
    std::shared_ptr<const Generation> generation;
    ItemSetHandle live_base;
    uint32_t num_live_base_sids = 0;               // SIDs of the base with an item in live_base
    std::shared_ptr<const Overlay> overlay;        // null: nothing was inserted
    ItemSetHandle live_overlay;                    // null with it
    std::shared_ptr<const Attributes> attributes;  // null: the store has no columns
  };

  // The generation as it was built.
  static Content content_of(std::shared_ptr<const Generation> generation);

  Snapshot(uint64_t version, Content content);

  const CatalogueView& catalogue_view() const override { return view_; }
  uint64_t version() const { return version_; }
  const Generation& generation() const { return *content_.generation; }
  const Content& content() const { return content_; }

  // The columns of the base and of the overlay, by position; null where the store or the snapshot
  // has none. Those of the overlay are gathered by the first call.
  const ItemColumnsHandle& base_columns() const { return content_.generation->columns(); }
  const ItemColumnsHandle& overlay_columns() const;

  int num_levels() const { return view_.base.num_levels; }
  int64_t num_items() const;
  int64_t num_sids() const;  // with a living item; the first call counts those of the overlay
  size_t nbytes() const;

  // codes [n, num_levels] -> ranks [n], -1 for a SID without a living item.
  void rank(const int64_t* codes, int64_t n, int64_t* ranks) const;

  // ranks [n] -> codes [n, num_levels]; a row of -1 for rank -1.
  void codes(const int64_t* ranks, int64_t n, int32_t* codes) const;

  // The child of each of nodes [n] of `level` < num_levels by each of tokens [n]; -1 for none with
  // a living item below.
  void child(int level, const int64_t* nodes, const int64_t* tokens, int64_t n,
             int64_t* children) const;

  // nodes [n] of `level` < num_levels -> offsets [n + 1] into a list of the tokens that lead on to
  // a living item; `tokens` gets the list.
  void children(int level, const int64_t* nodes, int64_t n, int64_t* offsets,
                std::vector<int32_t>* tokens) const;

  // ranks [n] -> offsets [n + 1] into a list of the living items of each, best first; `item_ids`
  // gets the list. Rank -1 has none.
  void items(const int64_t* ranks, int64_t n, int64_t* offsets,
             std::vector<int64_t>* item_ids) const;

  // item_ids [n] -> where each stands in base_columns(), or the size of the base + where it stands
  // in overlay_columns(); -1 for one that does not live.
  void positions(const int64_t* item_ids, int64_t n, int64_t* positions) const;

  // Living items below each of nodes [n] of `level`, which may be num_levels.
  void count_items(int level, const int64_t* nodes, int64_t n, int64_t* counts) const;

  // Throws InvalidArgument unless 0 <= level <= last.
  void check_level(const char* where, int level, int last) const;

 private:
  // A node as its parts in the two tries, -1 where it has none.
  struct Parts {
    int64_t base;
    int64_t overlay;
  };

  Parts parts_of(int level, int64_t node) const;
  bool overlay_has_sid(uint32_t base_rank) const;
  Parts child_of(int level, Parts parents, int64_t token) const;
  int64_t node_of(int level, Parts parts) const;
  bool lives(int level, Parts parts) const;
  void check_rank(const char* where, int64_t rank) const;
  void append_children(int level, Parts parts, std::vector<int32_t>* tokens) const;
  void append_items(Parts parts, std::vector<int64_t>* item_ids) const;

  uint64_t version_;
  Content content_;
  CatalogueView view_;
  mutable std::once_flag gathered_;
  mutable ItemColumnsHandle overlay_columns_;
  mutable std::once_flag counted_;
  mutable int64_t num_overlay_sids_ = 0;  // that live, and do not in the base
};

}  // namespace onesearch
