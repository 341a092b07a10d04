// Attributes of items, by name: what filters are written in. Immutable once made, safe to read from
// any number of threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/bytes.h"
#include "core/tensor_view.h"
#include "index/item_columns_view.h"

namespace onesearch {

// One column of `n` rows as callers give it.
struct ColumnRows {
  std::string name;
  ColumnKind kind = ColumnKind::kBool;
  // [n] bool, integers or floats by the kind; for kCategory integers that index `categories`; for
  // kCategories such integers of all lists, one list after the other.
  TensorView values;
  const int64_t* list_begin = nullptr;  // [n + 1] offsets into values; kCategories
  const bool* missing = nullptr;        // [n]; null: none. NaN is missing too.
  std::vector<std::string> categories;  // UTF-8, in any order
};

class ItemColumns;
using ItemColumnsHandle = std::shared_ptr<const ItemColumns>;

class ItemColumns {
 public:
  // As a position given to take: an item whose every value is missing.
  static constexpr uint32_t kNoItem = 0xffffffff;

  // The item at position p has the values of row `order[p]` of [0, n), of row p when that is null.
  // `catalogue` names the trie whose positions these are; 0: none.
  static ItemColumnsHandle build(uint32_t num_items, const std::vector<ColumnRows>& rows,
                                 const uint32_t* order = nullptr, uint64_t catalogue = 0);

  // The items at `positions` [n] of `first`, those past its end counted on into `second` (may be
  // null), which has the same columns; their dictionaries become one.
  static ItemColumnsHandle take(const ItemColumns& first, const ItemColumns* second,
                                const uint32_t* positions, uint32_t n, uint64_t catalogue = 0);

  // The same of many parts, column by column: the item at p has in column c of the first part the
  // value of row `rows[c][p]`, counted through all parts one after the other. Parts but the first
  // may lack columns; what is taken from there is missing.
  static ItemColumnsHandle gather(const std::vector<const ItemColumns*>& parts,
                                  const std::vector<const uint32_t*>& rows, uint32_t n,
                                  uint64_t catalogue = 0);

  // Maps the file. `verify` reads every byte once and checks all rules of the format; without it
  // only header, entries and names are checked, and evaluation stays in bounds on any bytes.
  static ItemColumnsHandle load(const std::string& path, bool verify);

  // Verified; the bytes are copied.
  static ItemColumnsHandle from_bytes(const void* bytes, size_t size, const std::string& where);

  void save(const std::string& path) const { write_file(path, image_); }
  void verify() const;

  // These columns, with those of `other` in the place of the ones of the same name. Throws
  // InvalidArgument for one that these do not have, or have as another kind.
  ItemColumnsHandle with_columns(const ItemColumns& other) const;

  const std::vector<ColumnView>& columns() const { return columns_; }
  const ColumnView* find(std::string_view name) const;  // null: no such column
  uint32_t num_items() const;
  uint64_t catalogue() const;
  const Bytes& image() const { return image_; }
  size_t nbytes() const { return image_.size(); }

 private:
  ItemColumns(Bytes image, std::vector<ColumnView> columns)
      : image_(std::move(image)), columns_(std::move(columns)) {}

  static ItemColumnsHandle own(Bytes image, const std::string& where);

  Bytes image_;
  std::vector<ColumnView> columns_;
};

// "bool", "integer", "real", "category", "categories"
const char* column_kind_name(ColumnKind kind);

}  // namespace onesearch
