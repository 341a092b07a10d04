#include "fuzz_item_columns.h"

#include <algorithm>

#include "core/error.h"
#include "core/hash.h"
#include "fuzz_targets.h"
#include "index/item_columns_image.h"
#include "index/item_predicate.h"
#include "memory_file.h"

namespace onesearch::testing {
namespace {

// Everything that evaluation reads of a column.
void query_column(const ColumnView& column, const ItemColumns& columns) {
  const std::string name(column.name);
  ItemPredicate predicate;
  predicate.add_missing(name);
  if (column.kind == ColumnKind::kInteger) {
    predicate.add_integers(name, {-5, 7, 300}, {3, 100, 70000});
    std::vector<int64_t> keys(50);
    for (size_t i = 0; i < keys.size(); ++i) keys[i] = static_cast<int64_t>(i * i * 17);
    predicate.add_integers(name, keys, keys);
    predicate.join_all(2);
  } else if (column.kind == ColumnKind::kReal) {
    predicate.add_reals(name, {-5, 7.5, 300}, {3, 100, 70000});
  } else if (column.kind == ColumnKind::kBool) {
    predicate.add_true(name);
  } else {
    predicate.add_texts(name, {"a", "garden", "no such"});
  }
  predicate.negate();
  predicate.join_any(2);
  evaluate(predicate, columns);
}

}  // namespace

std::string cell_text(const ColumnView& column, uint32_t position) {
  if (missing_at(column, position)) return "?";
  if (column.kind == ColumnKind::kReal) return std::to_string(real_at(column, position));
  if (column.kind == ColumnKind::kBool) {
    return std::to_string(bit_at(static_cast<const uint64_t*>(column.values), position));
  }
  if (column.kind == ColumnKind::kInteger) return std::to_string(integer_at(column, position));
  const auto code = static_cast<uint32_t>(integer_at(column, position));
  if (column.kind == ColumnKind::kCategory) return std::string(column.category(code));
  std::string text;
  const auto list = column.list(code);
  for (const uint32_t* one = list.begin; one < list.end; ++one) {
    text += std::string(column.category(*one)) + "/";
  }
  return text;
}

std::string item_text(const ItemColumns& columns, uint32_t position) {
  std::string text;
  for (const ColumnView& column : columns.columns()) {
    text += std::string(column.name) + "=" + cell_text(column, position) + ";";
  }
  return text;
}

std::vector<std::string> item_texts(const ItemColumns& columns) {
  std::vector<std::string> texts;
  for (uint32_t i = 0; i < columns.num_items(); ++i) texts.push_back(item_text(columns, i));
  return texts;
}

ItemColumnsHandle load_columns(const std::string& bytes, bool verify) {
  const MemoryFile file(bytes.data(), bytes.size());
  try {
    return ItemColumns::load(file.path(), verify);
  } catch (const ColumnsFormatError&) {
    return nullptr;
  }
}

void reseal_columns(std::string& bytes) {
  if (bytes.size() < sizeof(ItemColumnsHeader)) return;
  auto& header = *reinterpret_cast<ItemColumnsHeader*>(bytes.data());
  const uint64_t end = sizeof header + uint64_t{header.num_columns} * sizeof(ColumnEntry);
  const uint64_t header_bytes = (end + 63) / 64 * 64;
  if (header_bytes > bytes.size()) return;
  header.checksum = 0;
  header.checksum = xxh64(bytes.data(), header_bytes);
}

void query_everything(const ItemColumns& columns) {
  // A hostile number of items is memory of ours.
  if (columns.num_items() > 1000000) return;
  for (const ColumnView& column : columns.columns()) query_column(column, columns);
  std::vector<uint32_t> positions(std::min(columns.num_items(), 200u));
  for (uint32_t i = 0; i < positions.size(); ++i) positions[i] = i;
  item_texts(*ItemColumns::take(columns, &columns, positions.data(),
                                static_cast<uint32_t>(positions.size())));
}

void fuzz_item_columns(const uint8_t* bytes, size_t size) {
  if (size == 0) return;
  std::string file(bytes + 1, bytes + size);
  if (bytes[0] % 2 == 1) reseal_columns(file);
  if (const ItemColumnsHandle columns = load_columns(file, false)) query_everything(*columns);
  load_columns(file, true);
}

}  // namespace onesearch::testing
