// What fuzzing does with the bytes of a file of item columns.
#pragma once

#include <string>
#include <vector>

#include "index/item_columns.h"

namespace onesearch::testing {

// An item's attributes as text: equal text, equal attributes.
std::string cell_text(const ColumnView& column, uint32_t position);
std::string item_text(const ItemColumns& columns, uint32_t position);
std::vector<std::string> item_texts(const ItemColumns& columns);

// The columns that these bytes are as a file; null when they are refused.
ItemColumnsHandle load_columns(const std::string& bytes, bool verify);

// Sets the checksum of header and entries as far as they can be followed.
void reseal_columns(std::string& bytes);

// Asks everything of columns that may hold any bytes. Its memory accesses are what is tested.
void query_everything(const ItemColumns& columns);

}  // namespace onesearch::testing
