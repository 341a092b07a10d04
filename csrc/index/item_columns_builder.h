// From cells in any order to a column of an image: the narrowest storage, a sorted dictionary.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "index/item_columns_dictionary.h"
#include "index/item_columns_image.h"

namespace onesearch {

// Cells of some rows, as the one or the other number by the kind of their column.
struct Cells {
  static constexpr uint32_t kMax = 1024;

  int64_t integers[kMax];  // also bools, and codes of a dictionary
  double reals[kMax];
  bool missing[kMax];
};

class CellReader {
 public:
  virtual ~CellReader() = default;

  // rows [n], n <= Cells::kMax
  virtual void read(const uint32_t* rows, uint32_t n, Cells* cells) const = 0;
};

class ColumnBuilder {
 public:
  // Position p gets the cell of row order[p], of row p when `order` is null. Reads every cell once.
  ColumnBuilder(std::string_view name, ColumnKind kind, std::unique_ptr<CellReader> reader,
                const Dictionary& dictionary, uint32_t num_items, const uint32_t* order);

  const ColumnEntry& entry() const { return entry_; }

  // Reads every cell again. `column` is of an image that was made with entry().
  void write(const ColumnView& column) const;

 private:
  // What the cells have in common.
  struct Summary;

  template <class Visit>
  void for_each_block(Visit visit) const;
  void describe(const Summary& summary);
  uint32_t num_codes() const;
  void write_cells(const ColumnView& column, const Cells& cells, uint32_t position,
                   uint32_t n) const;
  void write_dictionary(const ColumnView& column) const;

  std::string_view name_;
  ColumnKind kind_;
  std::unique_ptr<CellReader> reader_;
  uint32_t num_items_;
  const uint32_t* order_;
  SortedDictionary sorted_;
  ColumnEntry entry_{};
};

}  // namespace onesearch
