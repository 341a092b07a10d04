#include "index/item_columns.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>
#include <unordered_map>
#include <utility>

#include "core/error.h"
#include "core/hash.h"
#include "index/item_columns_builder.h"
#include "index/item_columns_image.h"
#include "index/item_columns_rules.h"

namespace onesearch {
namespace {

constexpr char kBuild[] = "ItemColumns.build";

void require(bool sound, const std::string& argument, const std::string& expected,
             const std::string& got) {
  if (!sound) throw InvalidArgument(complaint(kBuild, argument, expected, got));
}

// Calls visit(values) with the values as what they are.
template <class Visit>
void visit_cells(const TensorView& tensor, Visit visit) {
  switch (tensor.dtype) {
    case DType::kBool:
    case DType::kUInt8:
      return visit(static_cast<const uint8_t*>(tensor.data));
    case DType::kInt8:
      return visit(static_cast<const int8_t*>(tensor.data));
    case DType::kInt16:
      return visit(static_cast<const int16_t*>(tensor.data));
    case DType::kInt32:
      return visit(static_cast<const int32_t*>(tensor.data));
    case DType::kInt64:
      return visit(static_cast<const int64_t*>(tensor.data));
    case DType::kUInt16:
      return visit(static_cast<const uint16_t*>(tensor.data));
    case DType::kUInt32:
      return visit(static_cast<const uint32_t*>(tensor.data));
    case DType::kFloat32:
      return visit(static_cast<const float*>(tensor.data));
    case DType::kFloat64:
      return visit(static_cast<const double*>(tensor.data));
    default:
      throw TypeMismatch(
          complaint(kBuild, "values", "a dtype of columns", dtype_name(tensor.dtype)));
  }
}

// Cells of an array of the caller.
class ArrayReader : public CellReader {
 public:
  ArrayReader(const TensorView& values, const bool* missing) : values_(values), missing_(missing) {}

  void read(const uint32_t* rows, uint32_t n, Cells* cells) const override {
    visit_cells(values_, [&](const auto* values) {
      for (uint32_t i = 0; i < n; ++i) {
        const auto value = values[rows[i] * values_.strides[0]];
        bool missing = missing_ != nullptr && missing_[rows[i]];
        if constexpr (std::is_floating_point_v<decltype(value)>) {
          cells->reals[i] = value;
          missing = missing || value != value;
        } else {
          cells->integers[i] = static_cast<int64_t>(value);
        }
        cells->missing[i] = missing;
      }
    });
  }

 private:
  TensorView values_;
  const bool* missing_;
};

// Codes of distinct lists.
class ListReader : public CellReader {
 public:
  // Adds the distinct lists to `dictionary`, whose texts are there.
  ListReader(const ColumnRows& rows, uint32_t n, Dictionary* dictionary) : missing_(rows.missing) {
    std::unordered_multimap<uint64_t, uint32_t> lists;  // by hash
    visit_cells(rows.values, [&](const auto* values) {
      for (uint32_t row = 0; row < n; ++row) {
        for (int64_t at = rows.list_begin[row]; at < rows.list_begin[row + 1]; ++at) {
          const auto value = static_cast<int64_t>(values[at * rows.values.strides[0]]);
          require(value >= 0 && value < static_cast<int64_t>(dictionary->texts.size()), "codes",
                  "indexes of the categories", std::to_string(value));
          dictionary->list_values.push_back(static_cast<uint32_t>(value));
        }
        codes_.push_back(code_of_last(dictionary, &lists));
      }
    });
  }

  void read(const uint32_t* rows, uint32_t n, Cells* cells) const override {
    for (uint32_t i = 0; i < n; ++i) {
      cells->integers[i] = codes_[rows[i]];
      cells->missing[i] = missing_ != nullptr && missing_[rows[i]];
    }
  }

 private:
  // The code of the list that stands open at the end of the dictionary, which is closed or, when
  // it is there already, taken away.
  static uint32_t code_of_last(Dictionary* dictionary,
                               std::unordered_multimap<uint64_t, uint32_t>* lists) {
    std::vector<uint32_t>& values = dictionary->list_values;
    const auto begin = values.begin() + static_cast<std::ptrdiff_t>(dictionary->list_begin.back());
    const uint64_t hash = xxh64(values.data() + dictionary->list_begin.back(),
                                static_cast<size_t>(values.end() - begin) * sizeof(uint32_t));
    const auto [first, last] = lists->equal_range(hash);
    for (auto at = first; at != last; ++at) {
      const auto other =
          values.begin() + static_cast<std::ptrdiff_t>(dictionary->list_begin[at->second]);
      const auto other_end =
          values.begin() + static_cast<std::ptrdiff_t>(dictionary->list_begin[at->second + 1]);
      if (!std::equal(begin, values.end(), other, other_end)) continue;
      values.erase(begin, values.end());
      return at->second;
    }
    const auto code = static_cast<uint32_t>(dictionary->num_lists());
    dictionary->close_list();
    lists->emplace(hash, code);
    return code;
  }

  std::vector<uint32_t> codes_;
  const bool* missing_;
};

// Cells of one column after another; codes count on from those of the columns before.
class StoredReader : public CellReader {
 public:
  // `column` may be null: every cell is missing.
  void append(const ColumnView* column, uint32_t num_items) {
    parts_.push_back({column, num_rows_, first_code_});
    num_rows_ += num_items;
    if (column != nullptr) first_code_ += column->num_codes();
  }

  void read(const uint32_t* rows, uint32_t n, Cells* cells) const override {
    for (uint32_t i = 0; i < n; ++i) {
      const Part& part = part_of(rows[i]);
      const uint32_t position = rows[i] - part.first_row;
      cells->missing[i] = rows[i] == ItemColumns::kNoItem || part.column == nullptr ||
                          missing_at(*part.column, position);
      if (!cells->missing[i]) read_value(part, position, i, cells);
    }
  }

 private:
  struct Part {
    const ColumnView* column;
    uint32_t first_row;
    uint32_t first_code;
  };

  const Part& part_of(uint32_t row) const {
    const auto after =
        std::upper_bound(parts_.begin(), parts_.end(), row,
                         [](uint32_t wanted, const Part& part) { return wanted < part.first_row; });
    return *(after - 1);
  }

  static void read_value(const Part& part, uint32_t position, uint32_t i, Cells* cells) {
    const ColumnView& column = *part.column;
    if (column.kind == ColumnKind::kReal) {
      cells->reals[i] = real_at(column, position);
    } else if (column.kind == ColumnKind::kBool) {
      cells->integers[i] = bit_at(static_cast<const uint64_t*>(column.values), position);
    } else {
      cells->integers[i] = part.first_code + integer_at(column, position);
    }
  }

  std::vector<Part> parts_;
  uint32_t num_rows_ = 0;
  uint32_t first_code_ = 0;
};

bool dtype_fits(ColumnKind kind, DType dtype) {
  const bool real = dtype == DType::kFloat32 || dtype == DType::kFloat64;
  const bool integer = !real && dtype != DType::kBool && dtype != DType::kFloat16 &&
                       dtype != DType::kBFloat16 && dtype != DType::kUInt64;
  if (kind == ColumnKind::kReal) return real;
  return kind == ColumnKind::kBool ? dtype == DType::kBool : integer;
}

void check_lists(const ColumnRows& rows, uint32_t n) {
  bool sound = rows.list_begin != nullptr && rows.list_begin[0] == 0;
  for (uint32_t row = 0; sound && row < n; ++row) {
    sound = rows.list_begin[row] <= rows.list_begin[row + 1];
  }
  require(sound && rows.list_begin[n] == rows.values.shape[0], rows.name,
          "offsets that ascend from 0 to the number of values", "others");
}

void check_rows(const ColumnRows& rows, uint32_t n) {
  require(!rows.name.empty() && is_utf8(rows.name), "columns", "names in UTF-8, not empty",
          "'" + rows.name + "'");
  require(dtype_fits(rows.kind, rows.values.dtype), rows.name,
          std::string("a dtype of kind ") + column_kind_name(rows.kind),
          dtype_name(rows.values.dtype));
  require(rows.values.ndim == 1, rows.name, "shape [n]", shape_text(rows.values));
  if (rows.kind == ColumnKind::kCategories) return check_lists(rows, n);
  require(rows.values.shape[0] == n, rows.name, std::to_string(n) + " values, one an item",
          std::to_string(rows.values.shape[0]));
}

ColumnBuilder builder_of(const ColumnRows& rows, uint32_t n, const uint32_t* order) {
  check_rows(rows, n);
  Dictionary dictionary;
  for (const std::string& text : rows.categories) {
    require(is_utf8(text), rows.name, "categories in UTF-8", "other bytes");
    dictionary.texts.push_back(text);
  }
  std::unique_ptr<CellReader> reader;
  if (rows.kind == ColumnKind::kCategories) {
    reader = std::make_unique<ListReader>(rows, n, &dictionary);
  } else {
    reader = std::make_unique<ArrayReader>(rows.values, rows.missing);
  }
  return ColumnBuilder(rows.name, rows.kind, std::move(reader), dictionary, n, order);
}

Bytes image_of(uint32_t num_items, uint64_t catalogue, const std::vector<ColumnBuilder>& builders) {
  std::vector<ColumnEntry> entries;
  for (const ColumnBuilder& builder : builders) entries.push_back(builder.entry());
  Bytes image = make_columns_image(num_items, catalogue, entries);
  const std::vector<ColumnView> columns = unsealed_columns(image);
  for (size_t i = 0; i < builders.size(); ++i) builders[i].write(columns[i]);
  seal_columns_image(image);
  return image;
}

void check_rows_taken(const uint32_t* rows, uint32_t n, uint64_t num_rows) {
  for (uint32_t i = 0; i < n; ++i) {
    require(rows[i] < num_rows || rows[i] == ItemColumns::kNoItem, "positions",
            "positions below " + std::to_string(num_rows), std::to_string(rows[i]));
  }
}

void check_same_columns(const ItemColumns& first, const ItemColumns& second) {
  require(first.columns().size() == second.columns().size(), "columns",
          "those of the other items: " + std::to_string(first.columns().size()),
          std::to_string(second.columns().size()));
  for (const ColumnView& column : first.columns()) {
    const ColumnView* other = second.find(column.name);
    require(other != nullptr && other->kind == column.kind, std::string(column.name),
            std::string("a column of kind ") + column_kind_name(column.kind),
            other == nullptr ? "none" : column_kind_name(other->kind));
  }
}

}  // namespace

ItemColumnsHandle ItemColumns::own(Bytes image, const std::string& where) {
  std::vector<ColumnView> columns = open_columns_image(image, where);
  return ItemColumnsHandle(new ItemColumns(std::move(image), std::move(columns)));
}

ItemColumnsHandle ItemColumns::build(uint32_t num_items, const std::vector<ColumnRows>& rows,
                                     const uint32_t* order, uint64_t catalogue) {
  require(rows.size() <= kMaxColumns, "columns", "at most 4096 columns",
          std::to_string(rows.size()));
  std::vector<ColumnBuilder> builders;
  std::set<std::string> names;
  for (const ColumnRows& column : rows) {
    require(names.insert(column.name).second, "columns", "distinct names", column.name + " twice");
    builders.push_back(builder_of(column, num_items, order));
  }
  return own(image_of(num_items, catalogue, builders), kBuild);
}

ItemColumnsHandle ItemColumns::take(const ItemColumns& first, const ItemColumns* second,
                                    const uint32_t* positions, uint32_t n, uint64_t catalogue) {
  std::vector<const ItemColumns*> parts = {&first};
  if (second != nullptr) {
    check_same_columns(first, *second);
    parts.push_back(second);
  }
  const std::vector<const uint32_t*> rows(first.columns().size(), positions);
  return gather(parts, rows, n, catalogue);
}

ItemColumnsHandle ItemColumns::gather(const std::vector<const ItemColumns*>& parts,
                                      const std::vector<const uint32_t*>& rows, uint32_t n,
                                      uint64_t catalogue) {
  uint64_t num_rows = 0;
  for (const ItemColumns* part : parts) num_rows += part->num_items();
  require(num_rows < kNoItem, "items", "fewer than 2^32 - 1 rows", std::to_string(num_rows));
  std::vector<ColumnBuilder> builders;
  for (const ColumnView& column : parts.front()->columns()) {
    const uint32_t* const of_column = rows[builders.size()];
    check_rows_taken(of_column, n, num_rows);
    auto reader = std::make_unique<StoredReader>();
    Dictionary dictionary;
    for (const ItemColumns* part : parts) {
      const ColumnView* const stored = part->find(column.name);
      reader->append(stored, part->num_items());
      if (stored != nullptr) dictionary.append(*stored);
    }
    builders.emplace_back(column.name, column.kind, std::move(reader), dictionary, n, of_column);
  }
  return own(image_of(n, catalogue, builders), "ItemColumns.gather");
}

ItemColumnsHandle ItemColumns::load(const std::string& path, bool verify) {
  Bytes image = Bytes::map(path);
  const std::string where = "ItemColumns.load: " + path;
  if (verify) verify_columns_image(image, where);
  return own(std::move(image), where);
}

ItemColumnsHandle ItemColumns::from_bytes(const void* bytes, size_t size,
                                          const std::string& where) {
  // Nothing can be mapped of no bytes, and a file needs a header.
  Bytes image = Bytes::allocate(std::max<size_t>(size, 1));
  if (size > 0) std::memcpy(image.data(), bytes, size);
  verify_columns_image(image, where);
  return own(std::move(image), where);
}

void ItemColumns::verify() const { verify_columns_image(image_, "ItemColumns.verify"); }

ItemColumnsHandle ItemColumns::with_columns(const ItemColumns& other) const {
  require(other.num_items() == num_items(), "columns", std::to_string(num_items()) + " items",
          std::to_string(other.num_items()));
  for (const ColumnView& column : other.columns()) {
    const ColumnView* mine = find(column.name);
    require(mine != nullptr, std::string(column.name), "a column that is there", "another");
    require(mine->kind == column.kind, std::string(column.name), column_kind_name(mine->kind),
            column_kind_name(column.kind));
  }
  std::vector<ColumnOfImage> joined;
  for (uint32_t i = 0; i < columns_.size(); ++i) {
    const ColumnView* replaced = other.find(columns_[i].name);
    const auto index =
        replaced == nullptr ? i : static_cast<uint32_t>(replaced - other.columns_.data());
    joined.push_back({replaced == nullptr ? &image_ : &other.image_, index});
  }
  return own(join_columns(num_items(), catalogue(), joined), "ItemColumns.with_columns");
}

const ColumnView* ItemColumns::find(std::string_view name) const {
  const auto found = std::find_if(columns_.begin(), columns_.end(),
                                  [name](const ColumnView& column) { return column.name == name; });
  return found == columns_.end() ? nullptr : &*found;
}

uint32_t ItemColumns::num_items() const { return columns_header(image_).num_items; }

uint64_t ItemColumns::catalogue() const { return columns_header(image_).catalogue; }

const char* column_kind_name(ColumnKind kind) {
  constexpr const char* kNames[] = {"", "bool", "integer", "real", "category", "categories"};
  return kNames[static_cast<int>(kind)];
}

}  // namespace onesearch
