// From item ids back to semantic IDs.
#pragma once

#include <cstdint>

#include "index/catalogue_view.h"

namespace onesearch {

// item_ids [n] -> codes [n, num_levels]; a row of -1 for an item that does not live in the
// catalogue.
void item_codes(const CatalogueView& catalogue, const int64_t* item_ids, int64_t n, int32_t* codes);

}  // namespace onesearch
