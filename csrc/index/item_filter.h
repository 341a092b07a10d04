// Which items a request may see: a set over the items of a catalogue, and what follows from it for
// its nodes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "index/catalogue.h"
#include "index/item_set.h"

namespace onesearch {

// A set of items: by a mask over the rows of build's input, or by item ids. Ids that the catalogue
// does not hold match nothing.
struct ItemSelection {
  const bool* mask = nullptr;  // [num_items]
  const int64_t* ids = nullptr;
  int64_t num_ids = 0;
};

// A set over the items of the base, and one over those of the overlay.
struct CatalogueItemSets {
  ItemSetHandle base;
  ItemSetHandle overlay;  // null where the catalogue has no overlay
};

class ItemFilter;
using ItemFilterHandle = std::shared_ptr<const ItemFilter>;

class ItemFilter {
 public:
  // Allows the items of `where` (sets that are null hold all) that are in `allow` (null: all) and
  // not in `deny`. A mask needs a catalogue without an overlay.
  static ItemFilterHandle make(std::shared_ptr<const Catalogue> catalogue,
                               const ItemSelection* allow, const ItemSelection* deny,
                               CatalogueItemSets where = {});

  // Both filters are of the same catalogue.
  static ItemFilterHandle combine(ItemSet::Operation operation, const ItemFilter& a,
                                  const ItemFilter& b);
  ItemFilterHandle complement() const;

  const Catalogue& catalogue() const { return *catalogue_; }
  const CatalogueItemSets& sets() const { return sets_; }
  CatalogueFilterView view() const;
  int64_t num_unknown_ids() const { return num_unknown_ids_; }

  // Of its sets; chunks that other sets share count as well.
  size_t nbytes() const;

  // Items that live and are allowed, and nodes of the last level with such an item.
  int64_t num_allowed_items() const;
  int64_t num_allowed_sids() const;

  // Whether each item lives and is allowed: base items, then overlay items, each in the order of
  // their positions; [num_items of both].
  void item_allowed(bool* allowed) const;

  // item_ids [n] -> whether each names an item that lives and is allowed.
  void contains(const int64_t* item_ids, int64_t n, bool* contained) const;

  // nodes [n] of `level` (num_levels included) -> whether an item that lives and is allowed lies
  // below.
  void allows(int level, const int64_t* nodes, int64_t n, bool* allowed) const;

 private:
  ItemFilter(std::shared_ptr<const Catalogue> catalogue, CatalogueItemSets sets,
             int64_t num_unknown_ids);

  bool allows_base(int level, int64_t base_node) const;
  bool allows_node(int level, int64_t node) const;

  std::shared_ptr<const Catalogue> catalogue_;
  CatalogueView catalogue_view_;
  CatalogueItemSets sets_;
  int64_t num_unknown_ids_;
  AllowedItems base_;
  AllowedItems overlay_;
};

}  // namespace onesearch
