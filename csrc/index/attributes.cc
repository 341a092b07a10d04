#include "index/attributes.h"

#include <string>
#include <utility>

#include "core/error.h"

namespace onesearch {

uint32_t Attributes::append(ItemColumnsHandle part) {
  const uint64_t first = num_rows_;
  if (first + part->num_items() >= kNoRow) {
    throw InvalidArgument(complaint("LiveStore", "columns", "fewer than 2^32 - 1 rows of changes",
                                    std::to_string(first + part->num_items()),
                                    "compact the store"));
  }
  num_rows_ += part->num_items();
  parts_.push_back(std::move(part));
  return static_cast<uint32_t>(first);
}

ItemColumnsHandle Attributes::gather(const std::vector<std::vector<uint32_t>>& rows,
                                     uint32_t n) const {
  std::vector<const ItemColumns*> parts;
  std::vector<const uint32_t*> of_columns;
  for (const ItemColumnsHandle& part : parts_) parts.push_back(part.get());
  for (const std::vector<uint32_t>& of_column : rows) of_columns.push_back(of_column.data());
  return ItemColumns::gather(parts, of_columns, n);
}

}  // namespace onesearch
