#include "index/item_columns_rules.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "core/error.h"

namespace onesearch {
namespace {

// Bytes of the UTF-8 sequence that `lead` begins, 0 for none.
int utf8_length(unsigned char lead) {
  if (lead < 0x80) return 1;
  if (lead >= 0xc2 && lead <= 0xdf) return 2;
  if (lead >= 0xe0 && lead <= 0xef) return 3;
  return lead >= 0xf0 && lead <= 0xf4 ? 4 : 0;
}

// Neither overlong, nor a surrogate, nor past U+10FFFF.
bool second_byte_fits(unsigned char lead, unsigned char second) {
  if (lead == 0xe0) return second >= 0xa0;
  if (lead == 0xed) return second <= 0x9f;
  if (lead == 0xf0) return second >= 0x90;
  return lead != 0xf4 || second <= 0x8f;
}

template <class T, class Cell, class IsMissing>
ColumnZone<T> zone_of(const Cell* cells, NodeRange positions, ColumnZone<T> zone,
                      IsMissing is_missing) {
  for (uint32_t position = positions.begin; position < positions.end; ++position) {
    const auto value = static_cast<T>(cells[position]);
    if (is_missing(value, position)) {
      ++zone.num_missing;
    } else {
      zone.low = std::min(zone.low, value);
      zone.high = std::max(zone.high, value);
    }
  }
  return zone;
}

NodeRange positions_of(const ColumnView& column, uint32_t chunk) {
  const uint32_t begin = chunk * ItemChunk::kBits;
  return {begin, begin + std::min(ItemChunk::kBits, column.num_items - begin)};
}

template <class T>
bool same_zone(const ColumnZone<T>& a, const ColumnZone<T>& b) {
  // By value: a low of -0 and one of 0 are the same zone.
  return a.low == b.low && a.high == b.high && a.num_missing == b.num_missing;
}

class Verifier {
 public:
  Verifier(const ColumnView& column, const std::string& where) : column_(column), where_(where) {}

  void verify() const {
    if (column_.kind == ColumnKind::kBool) {
      verify_bits(static_cast<const uint64_t*>(column_.values));
    }
    if (column_.missing != nullptr) {
      verify_bits(column_.missing);
      verify_placeholders();
    }
    if (column_.has_codes()) verify_texts();
    if (column_.kind == ColumnKind::kCategories) verify_lists();
    verify_values();
  }

 private:
  void require(bool sound, const std::string& what, const std::string& expected) const {
    if (sound) return;
    throw ColumnsFormatError(complaint(where_, "column " + std::string(column_.name), expected,
                                       "another " + what, "build the columns again"));
  }

  void verify_bits(const uint64_t* bits) const {
    const uint32_t rest = column_.num_items % 64;
    require(rest == 0 || bits[column_.num_items / 64] >> rest == 0, "bit",
            "no bits past the last item");
  }

  void verify_placeholders() const {
    bool zero = true;
    for (uint32_t position = 0; position < column_.num_items; ++position) {
      if (!bit_at(column_.missing, position)) continue;
      zero = zero && (column_.kind == ColumnKind::kBool
                          ? !bit_at(static_cast<const uint64_t*>(column_.values), position)
                          : integer_at(column_, position) == 0);
    }
    require(zero, "value", "0 where a value is missing");
  }

  void verify_texts() const {
    require(column_.text_begin[0] == 0 &&
                column_.text_begin[column_.num_categories] == column_.text_bytes,
            "offset", "categories that fill their text");
    for (uint32_t code = 0; code < column_.num_categories; ++code) {
      require(column_.text_begin[code] <= column_.text_begin[code + 1] &&
                  column_.text_begin[code + 1] <= column_.text_bytes,
              "offset", "ascending offsets of categories");
      require(is_utf8(column_.category(code)), "text", "categories in UTF-8");
      require(code == 0 || column_.category(code - 1) < column_.category(code), "order",
              "distinct categories in ascending order");
    }
  }

  void verify_lists() const {
    require(column_.list_begin[0] == 0 &&
                column_.list_begin[column_.num_lists] == column_.num_list_values,
            "offset", "lists that fill their values");
    for (uint32_t code = 0; code < column_.num_lists; ++code) {
      require(column_.list_begin[code] <= column_.list_begin[code + 1] &&
                  column_.list_begin[code + 1] <= column_.num_list_values,
              "offset", "ascending offsets of lists");
      const auto list = column_.list(code);
      require(std::all_of(list.begin, list.end,
                          [this](uint32_t value) { return value < column_.num_categories; }),
              "value", "lists of its categories");
      if (code == 0) continue;
      const auto before = column_.list(code - 1);
      require(std::lexicographical_compare(before.begin, before.end, list.begin, list.end), "order",
              "distinct lists in ascending order");
    }
  }

  void verify_values() const {
    for (uint32_t chunk = 0; chunk < num_chunks(column_.num_items); ++chunk) {
      if (column_.real_zones != nullptr) {
        require(same_zone(column_.real_zones[chunk], real_zone(column_, chunk)), "zone",
                "zones of its values");
      } else if (column_.integer_zones != nullptr) {
        require(same_zone(column_.integer_zones[chunk], integer_zone(column_, chunk)), "zone",
                "zones of its values");
      }
    }
    if (!column_.has_codes()) return;
    for (uint32_t position = 0; position < column_.num_items; ++position) {
      require(integer_at(column_, position) <= column_.num_codes(), "code", "codes in range");
    }
  }

  const ColumnView& column_;
  const std::string& where_;
};

}  // namespace

bool is_utf8(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const auto lead = static_cast<unsigned char>(text[at]);
    const int length = utf8_length(lead);
    if (length == 0 || text.size() - at < static_cast<size_t>(length)) return false;
    for (int i = 1; i < length; ++i) {
      if ((static_cast<unsigned char>(text[at + i]) & 0xc0) != 0x80) return false;
    }
    if (length > 1 && !second_byte_fits(lead, static_cast<unsigned char>(text[at + 1]))) {
      return false;
    }
    at += static_cast<size_t>(length);
  }
  return true;
}

ColumnZone<int64_t> integer_zone(const ColumnView& column, uint32_t chunk) {
  using Limits = std::numeric_limits<int64_t>;
  return visit_integers(column, [&](const auto* cells) {
    return zone_of(
        cells, positions_of(column, chunk), ColumnZone<int64_t>{Limits::max(), Limits::min(), 0},
        [&](int64_t value, uint32_t position) {
          return column.has_codes() ? value >= column.num_codes()
                                    : column.missing != nullptr && bit_at(column.missing, position);
        });
  });
}

ColumnZone<double> real_zone(const ColumnView& column, uint32_t chunk) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  return visit_reals(column, [&](const auto* cells) {
    return zone_of(cells, positions_of(column, chunk), ColumnZone<double>{kInfinity, -kInfinity, 0},
                   [](double value, uint32_t) { return value != value; });
  });
}

void verify_column(const ColumnView& column, const std::string& where) {
  Verifier(column, where).verify();
}

}  // namespace onesearch
