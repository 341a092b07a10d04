// The rules of a column, beyond what its entry says.
#pragma once

#include <string>
#include <string_view>

#include "index/item_columns_view.h"

namespace onesearch {

bool is_utf8(std::string_view text);

// What the items of a chunk have, by looking at each.
ColumnZone<int64_t> integer_zone(const ColumnView& column, uint32_t chunk);
ColumnZone<double> real_zone(const ColumnView& column, uint32_t chunk);

// Throws ColumnsFormatError unless every rule of docs/item_columns_format.md holds. `where` opens
// the sentence.
void verify_column(const ColumnView& column, const std::string& where);

}  // namespace onesearch
