// The order of items on one SID: higher score first, equal scores by the hash of the item id, which
// never ties.
#pragma once

#include <cstdint>

#include "index/row_table.h"

namespace onesearch {

// Ascends in that order. `score` is not NaN; -0 and 0 are equal.
WideKey prior_key(int64_t item_id, double score);

// What prior_key takes, by row.
struct ItemPriors {
  const int64_t* ids = nullptr;    // null: row numbers, the first of which is first_row
  const double* scores = nullptr;  // null: all equal
  int64_t first_row = 0;

  WideKey key(uint32_t row) const {
    return prior_key(ids == nullptr ? first_row + row : ids[row],
                     scores == nullptr ? 0.0 : scores[row]);
  }
};

// Puts the rows of equal keys in order.
template <class Key>
void order_items(const ItemPriors& priors, RowTable<Key>* sorted);

}  // namespace onesearch
