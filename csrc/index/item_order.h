// The order of items on one SID.
#pragma once

#include "index/row_sort.h"

namespace onesearch {

// Reorders the rows of equal keys: higher score first, equal scores by the hash of the item id,
// which never ties. item_ids [num_rows], null: row numbers; item_scores [num_rows] without NaN,
// null: all equal.
template <class Key>
void order_items(const SortedRows<Key>& sorted, const int64_t* item_ids, const double* item_scores);

}  // namespace onesearch
