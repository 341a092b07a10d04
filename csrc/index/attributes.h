// Where the attributes of a live catalogue's items stand: in the columns of the generation, and in
// the batches that came since. A row counts through all of them, the generation's first.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "index/item_columns.h"

namespace onesearch {

class Attributes {
 public:
  static constexpr uint32_t kNoRow = ItemColumns::kNoItem;  // of a value that is missing

  // Of a generation as it was built.
  explicit Attributes(ItemColumnsHandle base) { append(std::move(base)); }

  const ItemColumns& base() const { return *parts_.front(); }
  const ItemColumnsHandle& base_handle() const { return parts_.front(); }
  size_t num_columns() const { return base().columns().size(); }
  size_t num_parts() const { return parts_.size(); }

  // Adds a batch, which may have some of the columns only; gives the row of its first item.
  uint32_t append(ItemColumnsHandle part);

  // The columns of n items: column c of item i has the value of rows[c][i].
  ItemColumnsHandle gather(const std::vector<std::vector<uint32_t>>& rows, uint32_t n) const;

 private:
  std::vector<ItemColumnsHandle> parts_;
  uint64_t num_rows_ = 0;
};

}  // namespace onesearch
