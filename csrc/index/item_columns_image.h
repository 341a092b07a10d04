// The bytes of item columns: header, one entry a column, 64-byte aligned sections. Memory and file
// hold the same bytes; docs/item_columns_format.md gives them one by one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "core/bytes.h"
#include "index/item_columns_view.h"

namespace onesearch {

constexpr uint32_t kItemColumnsVersion = 1;
constexpr uint32_t kMaxColumns = 4096;

struct ItemColumnsHeader {
  char magic[8];
  uint32_t version;
  uint32_t byte_order;
  uint64_t file_bytes;
  uint64_t catalogue;  // the trie whose positions these are; 0: none
  uint32_t num_items;
  uint32_t num_columns;
  uint64_t reserved[2];
  uint64_t checksum;  // of header and entries, with this field 0
};
static_assert(sizeof(ItemColumnsHeader) == 64, "the header is part of the file format");

// What determines every size of a column.
struct ColumnEntry {
  ColumnKind kind;
  CellType type;
  uint8_t has_missing;  // whether the section `missing` exists
  uint8_t reserved;
  uint32_t name_bytes;
  uint32_t num_categories;
  uint32_t num_lists;
  uint64_t text_bytes;
  uint64_t num_list_values;
  uint64_t checksum;  // of the column's sections with their padding
};
static_assert(sizeof(ColumnEntry) == 40, "the entries are part of the file format");

// An image with header and entries written, sections zero, checksums not yet set.
Bytes make_columns_image(uint32_t num_items, uint64_t catalogue,
                         const std::vector<ColumnEntry>& columns);

// Views of an image that make_columns_image made; what they point at may be written.
std::vector<ColumnView> unsealed_columns(const Bytes& image);

// Sets every checksum; the last step of a build.
void seal_columns_image(const Bytes& image);

// Checks header, entries and names, and gives the views. `where` opens the sentence of a
// ColumnsFormatError.
std::vector<ColumnView> open_columns_image(const Bytes& image, const std::string& where);

// Checks every checksum and every rule of the format.
void verify_columns_image(const Bytes& image, const std::string& where);

struct ColumnOfImage {
  const Bytes* image;
  uint32_t index;
};

// The image of columns of other images, all over `num_items` items.
Bytes join_columns(uint32_t num_items, uint64_t catalogue,
                   const std::vector<ColumnOfImage>& columns);

inline const ItemColumnsHeader& columns_header(const Bytes& image) {
  return *reinterpret_cast<const ItemColumnsHeader*>(image.data());
}

}  // namespace onesearch
