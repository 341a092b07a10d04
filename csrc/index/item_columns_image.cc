#include "index/item_columns_image.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "core/error.h"
#include "core/hash.h"
#include "index/item_columns_rules.h"

namespace onesearch {
namespace {

constexpr char kMagic[8] = {'O', 'S', 'F', 'C', 'O', 'L', 'S', '\x1a'};
constexpr uint32_t kByteOrder = 0x01020304;
constexpr uint64_t kAlignment = 64;
constexpr uint32_t kMaxIndex = 0x7fffffff;
constexpr char kRemedy[] = "build the columns again with ItemColumns.build and save them";

ItemColumnsHeader* header_of(const Bytes& image) {
  return reinterpret_cast<ItemColumnsHeader*>(image.data());
}

ColumnEntry* entries_of(const Bytes& image) {
  return reinterpret_cast<ColumnEntry*>(image.data() + sizeof(ItemColumnsHeader));
}

uint64_t round_up(uint64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

uint64_t bytes_of_bits(uint32_t num_items) { return (uint64_t{num_items} + 63) / 64 * 8; }

// Hands out the sections of a column, one after the other.
class Sections {
 public:
  // Of no image: only to find out where they end.
  explicit Sections(uint64_t offset) : offset_(offset) {}
  Sections(unsigned char* image, uint64_t offset) : image_(image), offset_(offset) {}

  template <class T>
  const T* take(uint64_t bytes) {
    const uint64_t begin = offset_;
    offset_ += round_up(bytes);
    return image_ == nullptr ? nullptr : reinterpret_cast<const T*>(image_ + begin);
  }

  uint64_t offset() const { return offset_; }

 private:
  unsigned char* image_ = nullptr;
  uint64_t offset_;
};

ColumnView take_column(const ColumnEntry& entry, uint32_t num_items, Sections* sections) {
  ColumnView view;
  view.name = {sections->take<char>(entry.name_bytes), entry.name_bytes};
  view.kind = entry.kind;
  view.type = entry.type;
  view.num_items = num_items;
  view.num_categories = entry.num_categories;
  view.num_lists = entry.num_lists;
  view.text_bytes = entry.text_bytes;
  view.num_list_values = entry.num_list_values;
  const bool bits = entry.type == CellType::kBit;
  view.values = sections->take<void*>(bits ? bytes_of_bits(num_items)
                                           : uint64_t{num_items} * cell_bytes(entry.type));
  if (entry.has_missing != 0) view.missing = sections->take<uint64_t>(bytes_of_bits(num_items));
  const uint64_t zone_bytes = num_chunks(num_items) * sizeof(ColumnZone<int64_t>);
  if (entry.kind == ColumnKind::kReal) {
    view.real_zones = sections->take<ColumnZone<double>>(zone_bytes);
  } else if (entry.kind != ColumnKind::kBool) {
    view.integer_zones = sections->take<ColumnZone<int64_t>>(zone_bytes);
  }
  if (!view.has_codes()) return view;
  view.text_begin = sections->take<uint64_t>((uint64_t{entry.num_categories} + 1) * 8);
  view.text = sections->take<char>(entry.text_bytes);
  if (entry.kind != ColumnKind::kCategories) return view;
  view.list_begin = sections->take<uint64_t>((uint64_t{entry.num_lists} + 1) * 8);
  view.list_values = sections->take<uint32_t>(entry.num_list_values * sizeof(uint32_t));
  return view;
}

uint64_t entries_end(uint32_t num_columns) {
  return round_up(sizeof(ItemColumnsHeader) + uint64_t{num_columns} * sizeof(ColumnEntry));
}

// Where a column ends that begins at `offset`.
uint64_t column_end(const ColumnEntry& entry, uint32_t num_items, uint64_t offset) {
  Sections sections(offset);
  take_column(entry, num_items, &sections);
  return sections.offset();
}

uint64_t checksum_of_entries(const Bytes& image) {
  const uint64_t bytes = entries_end(header_of(image)->num_columns);
  std::vector<unsigned char> copy(image.data(), image.data() + bytes);
  std::memset(copy.data() + offsetof(ItemColumnsHeader, checksum), 0, sizeof(uint64_t));
  return xxh64(copy.data(), copy.size());
}

// Calls visit(entry, begin, end) for every column of a sound layout.
template <class Visit>
void for_each_column(const Bytes& image, Visit visit) {
  const ItemColumnsHeader& header = *header_of(image);
  uint64_t begin = entries_end(header.num_columns);
  for (uint32_t i = 0; i < header.num_columns; ++i) {
    ColumnEntry& entry = entries_of(image)[i];
    const uint64_t end = column_end(entry, header.num_items, begin);
    visit(&entry, begin, end);
    begin = end;
  }
}

std::vector<ColumnView> views_of(const Bytes& image) {
  std::vector<ColumnView> views;
  for_each_column(image, [&](const ColumnEntry* entry, uint64_t begin, uint64_t) {
    Sections sections(image.data(), begin);
    views.push_back(take_column(*entry, header_of(image)->num_items, &sections));
  });
  return views;
}

void require(bool sound, const std::string& where, const std::string& what,
             const std::string& expected, const std::string& got) {
  if (!sound) throw ColumnsFormatError(complaint(where, what, expected, got, kRemedy));
}

void check_header(const Bytes& image, const std::string& where) {
  require(image.size() >= sizeof(ItemColumnsHeader), where, "file", "at least 64 bytes",
          std::to_string(image.size()));
  const ItemColumnsHeader& header = *header_of(image);
  require(std::memcmp(header.magic, kMagic, sizeof kMagic) == 0, where, "magic",
          "the item columns magic", "other bytes");
  require(header.byte_order == kByteOrder, where, "byte order", "little endian", "another");
  require(header.version == kItemColumnsVersion, where, "version",
          std::to_string(kItemColumnsVersion), std::to_string(header.version));
  require(header.file_bytes == image.size(), where, "file size",
          std::to_string(header.file_bytes) + " bytes", std::to_string(image.size()));
  require(header.num_items <= kMaxIndex, where, "num_items", "at most 2^31 - 1",
          std::to_string(header.num_items));
  require(header.num_columns <= kMaxColumns && entries_end(header.num_columns) <= image.size(),
          where, "num_columns", "entries within the file", std::to_string(header.num_columns));
  require(header.reserved[0] == 0 && header.reserved[1] == 0, where, "reserved", "0", "others");
  require(header.checksum == checksum_of_entries(image), where, "header", "its checksum to match",
          "altered bytes");
}

bool type_fits(ColumnKind kind, CellType type) {
  switch (kind) {
    case ColumnKind::kBool:
      return type == CellType::kBit;
    case ColumnKind::kInteger:
      return type >= CellType::kUInt8 && type <= CellType::kInt64;
    case ColumnKind::kReal:
      return type == CellType::kFloat32 || type == CellType::kFloat64;
    case ColumnKind::kCategory:
    case ColumnKind::kCategories:
      return type >= CellType::kUInt8 && type <= CellType::kUInt32;
  }
  return false;
}

bool is_sound(const ColumnEntry& entry) {
  const bool codes = entry.kind == ColumnKind::kCategory || entry.kind == ColumnKind::kCategories;
  const bool lists = entry.kind == ColumnKind::kCategories;
  const bool may_miss = entry.kind == ColumnKind::kBool || entry.kind == ColumnKind::kInteger;
  return type_fits(entry.kind, entry.type) && entry.reserved == 0 && entry.name_bytes > 0 &&
         entry.has_missing <= may_miss && (codes || entry.num_categories + entry.text_bytes == 0) &&
         (lists || entry.num_lists + entry.num_list_values == 0);
}

// Every column lies within the file, and together they fill it. Sizes are compared before they are
// added up, so that none of them can wrap around.
void check_entries(const Bytes& image, const std::string& where) {
  uint64_t end = entries_end(header_of(image)->num_columns);
  for (uint32_t i = 0; i < header_of(image)->num_columns; ++i) {
    const ColumnEntry& entry = entries_of(image)[i];
    const std::string column = "column " + std::to_string(i);
    require(is_sound(entry), where, column, "a kind with its sections", "another entry");
    const bool bounded = entry.text_bytes <= image.size() && entry.num_list_values <= image.size();
    end = bounded ? column_end(entry, header_of(image)->num_items, end) : image.size() + 1;
    require(end <= image.size(), where, column, "sections within the file", "larger ones");
  }
  require(end == image.size(), where, "file size", std::to_string(end) + " bytes for its columns",
          std::to_string(image.size()));
}

void check_names(const std::vector<ColumnView>& columns, const std::string& where) {
  std::set<std::string_view> names;
  for (const ColumnView& column : columns) {
    require(is_utf8(column.name), where, "column name", "UTF-8", "other bytes");
    require(names.insert(column.name).second, where, "column names", "distinct names",
            std::string(column.name) + " twice");
  }
}

}  // namespace

Bytes make_columns_image(uint32_t num_items, uint64_t catalogue,
                         const std::vector<ColumnEntry>& columns) {
  ItemColumnsHeader header{};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  header.version = kItemColumnsVersion;
  header.byte_order = kByteOrder;
  header.catalogue = catalogue;
  header.num_items = num_items;
  header.num_columns = static_cast<uint32_t>(columns.size());
  header.file_bytes = entries_end(header.num_columns);
  for (const ColumnEntry& entry : columns) {
    header.file_bytes = column_end(entry, num_items, header.file_bytes);
  }
  Bytes image = Bytes::allocate(header.file_bytes);
  *header_of(image) = header;
  std::copy(columns.begin(), columns.end(), entries_of(image));
  return image;
}

std::vector<ColumnView> unsealed_columns(const Bytes& image) { return views_of(image); }

void seal_columns_image(const Bytes& image) {
  for_each_column(image, [&](ColumnEntry* entry, uint64_t begin, uint64_t end) {
    entry->checksum = xxh64(image.data() + begin, end - begin);
  });
  header_of(image)->checksum = checksum_of_entries(image);
}

std::vector<ColumnView> open_columns_image(const Bytes& image, const std::string& where) {
  check_header(image, where);
  check_entries(image, where);
  std::vector<ColumnView> columns = views_of(image);
  check_names(columns, where);
  return columns;
}

void verify_columns_image(const Bytes& image, const std::string& where) {
  const std::vector<ColumnView> columns = open_columns_image(image, where);
  for_each_column(image, [&](const ColumnEntry* entry, uint64_t begin, uint64_t end) {
    require(entry->checksum == xxh64(image.data() + begin, end - begin), where, "column",
            "its checksum to match", "altered bytes");
  });
  for (const ColumnView& column : columns) verify_column(column, where);
}

Bytes join_columns(uint32_t num_items, uint64_t catalogue,
                   const std::vector<ColumnOfImage>& columns) {
  std::vector<ColumnEntry> entries;
  for (const ColumnOfImage& column : columns) {
    entries.push_back(entries_of(*column.image)[column.index]);
  }
  Bytes joined = make_columns_image(num_items, catalogue, entries);
  size_t next = 0;
  for_each_column(joined, [&](const ColumnEntry*, uint64_t begin, uint64_t end) {
    const ColumnOfImage& column = columns[next++];
    uint32_t index = 0;
    for_each_column(*column.image, [&](const ColumnEntry*, uint64_t from, uint64_t) {
      if (index++ == column.index) {
        std::memcpy(joined.data() + begin, column.image->data() + from, end - begin);
      }
    });
  });
  header_of(joined)->checksum = checksum_of_entries(joined);
  return joined;
}

}  // namespace onesearch
