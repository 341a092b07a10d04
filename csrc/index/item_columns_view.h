// Attributes of items as evaluation reads them: one value an item, in the order of the items'
// positions. Owns nothing. A view of unverified bytes may hold any values; readers stay in bounds.
#pragma once

#include <cstdint>
#include <string_view>

#include "index/item_set_view.h"

namespace onesearch {

enum class ColumnKind : uint8_t {
  kBool = 1,
  kInteger = 2,     // within int64
  kReal = 3,        // NaN: missing
  kCategory = 4,    // one text of a dictionary
  kCategories = 5,  // a list of them
};

// Integers and codes are stored in the narrowest type that holds all of a column, reals in float32
// where that holds all exactly.
enum class CellType : uint8_t {
  kBit = 0,
  kUInt8 = 1,
  kUInt16 = 2,
  kUInt32 = 3,
  kInt8 = 4,
  kInt16 = 5,
  kInt32 = 6,
  kInt64 = 7,
  kFloat32 = 8,
  kFloat64 = 9,
};

inline int cell_bytes(CellType type) {
  constexpr int kBytes[] = {0, 1, 2, 4, 1, 2, 4, 8, 4, 8};
  return kBytes[static_cast<int>(type)];
}

// What the items of one chunk (65,536 positions) have; low > high when all of them are missing.
template <class T>
struct ColumnZone {
  T low;
  T high;
  uint64_t num_missing;
};

struct ColumnView {
  std::string_view name;
  ColumnKind kind = ColumnKind::kBool;
  CellType type = CellType::kBit;
  uint32_t num_items = 0;
  // [num_items]; bits for kBool, dictionary codes for categories. 0 where a bool or an integer is
  // missing, num_codes() where a category is.
  const void* values = nullptr;
  const uint64_t* missing = nullptr;                   // bits; null: no bool or integer is missing
  const ColumnZone<int64_t>* integer_zones = nullptr;  // [chunks]; integers and codes
  const ColumnZone<double>* real_zones = nullptr;      // [chunks]; reals

  uint32_t num_categories = 0;
  const uint64_t* text_begin = nullptr;  // [num_categories + 1] offsets into `text`, UTF-8
  const char* text = nullptr;
  uint64_t text_bytes = 0;
  uint32_t num_lists = 0;                // distinct lists of a kCategories column
  const uint64_t* list_begin = nullptr;  // [num_lists + 1] offsets into `list_values`
  const uint32_t* list_values = nullptr;
  uint64_t num_list_values = 0;

  bool has_codes() const {
    return kind == ColumnKind::kCategory || kind == ColumnKind::kCategories;
  }
  uint32_t num_codes() const {
    return kind == ColumnKind::kCategories ? num_lists : num_categories;
  }

  // Empty for what is out of range.
  std::string_view category(uint32_t code) const {
    if (code >= num_categories) return {};
    const uint64_t begin = text_begin[code];
    const uint64_t end = text_begin[code + 1];
    return begin <= end && end <= text_bytes ? std::string_view(text + begin, end - begin)
                                             : std::string_view();
  }

  struct CodeRange {
    const uint32_t* begin;
    const uint32_t* end;
  };

  // The categories of a distinct list, in their order; empty for what is out of range.
  CodeRange list(uint32_t code) const {
    if (code >= num_lists) return {list_values, list_values};
    const uint64_t begin = list_begin[code];
    const uint64_t end = list_begin[code + 1];
    if (begin > end || end > num_list_values) return {list_values, list_values};
    return {list_values + begin, list_values + end};
  }
};

inline uint32_t num_chunks(uint32_t num_items) {
  return num_items / ItemChunk::kBits + (num_items % ItemChunk::kBits != 0);
}

// Calls visit(cells) with the values of a column of integers or codes, as what they are stored as.
template <class Visit>
auto visit_integers(const ColumnView& column, Visit visit) {
  switch (column.type) {
    case CellType::kUInt8:
      return visit(static_cast<const uint8_t*>(column.values));
    case CellType::kUInt16:
      return visit(static_cast<const uint16_t*>(column.values));
    case CellType::kUInt32:
      return visit(static_cast<const uint32_t*>(column.values));
    case CellType::kInt8:
      return visit(static_cast<const int8_t*>(column.values));
    case CellType::kInt16:
      return visit(static_cast<const int16_t*>(column.values));
    case CellType::kInt32:
      return visit(static_cast<const int32_t*>(column.values));
    default:
      return visit(static_cast<const int64_t*>(column.values));
  }
}

inline int64_t integer_at(const ColumnView& column, uint32_t position) {
  return visit_integers(
      column, [position](const auto* cells) { return static_cast<int64_t>(cells[position]); });
}

template <class Visit>
auto visit_reals(const ColumnView& column, Visit visit) {
  if (column.type == CellType::kFloat32) return visit(static_cast<const float*>(column.values));
  return visit(static_cast<const double*>(column.values));
}

inline double real_at(const ColumnView& column, uint32_t position) {
  return visit_reals(
      column, [position](const auto* cells) { return static_cast<double>(cells[position]); });
}

inline bool bit_at(const uint64_t* bits, uint32_t position) {
  return (bits[position / 64] >> (position % 64)) & 1;
}

inline bool missing_at(const ColumnView& column, uint32_t position) {
  if (column.kind == ColumnKind::kReal) {
    const double value = real_at(column, position);
    return value != value;
  }
  if (column.has_codes()) return integer_at(column, position) >= column.num_codes();
  return column.missing != nullptr && bit_at(column.missing, position);
}

}  // namespace onesearch
