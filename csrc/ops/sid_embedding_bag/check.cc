#include <string>

#include "core/tensor_check.h"
#include "ops/sid_embedding_bag/term_lists.h"

namespace onesearch {
namespace {

const TensorCheck kCheck("sid_embedding_bag", TensorCheck::kAnyDevice);

void check_offsets(const ItemBags& bags, int64_t num_items) {
  int64_t before = 0;
  for (int64_t bag = 0; bag <= bags.size(); ++bag) {
    const int64_t at = first_item(bags, bag);
    const bool wrong_end = (bag == 0 && at != 0) || (bag == bags.size() && at != num_items);
    if (at < before || wrong_end) {
      kCheck.refuse("offsets", "a rise from 0 to the " + std::to_string(num_items) + " items",
                    std::to_string(at) + " at " + std::to_string(bag));
    }
    before = at;
  }
}

void check_bags(const ItemBags& bags, int64_t num_items) {
  if (bags.offsets.ndim != 1 || bags.offsets.shape[0] < 1) {
    kCheck.refuse("offsets", "[bag + 1]", shape_text(bags.offsets));
  }
  kCheck.tensor(bags.offsets, "offsets", DType::kInt64, {{"bag + 1", bags.size() + 1}});
  if (bags.offsets.device == Device::kCpu) check_offsets(bags, num_items);
  if (bags.weights != nullptr) {
    kCheck.tensor(*bags.weights, "weights", DType::kFloat32, {{"item", num_items}});
  }
  if (bags.bag_scales == nullptr) return;
  kCheck.tensor(*bags.bag_scales, "bag_scales", DType::kFloat32, {{"bag", bags.size()}});
  kCheck.contiguous_rows(*bags.bag_scales, "bag_scales");
}

[[noreturn]] void refuse_code(const ItemRows& items, const Level& level, const char* argument) {
  int64_t item = 0;
  int64_t code = 0;
  do {
    code = *items.codes.at<const int32_t>(item++, level.column);
  } while (code >= -1 && code < level.size);
  const std::string at = "[" + std::to_string(item - 1) + ", " + std::to_string(level.column) + "]";
  kCheck.refuse(argument, "-1 or a number less than " + std::to_string(level.size),
                std::to_string(code) + " at " + at);
}

void check_codes(const ItemRows& items, const char* argument) {
  const int64_t stride = items.codes.strides[0];
  for (const Level& level : levels_of(items)) {
    const int32_t* codes = items.codes.at<const int32_t>(0) + level.column;
    const auto most = static_cast<uint32_t>(level.size);
    bool outside = false;
    // One comparison for both ends: raised by one, a code below -1 is a huge number.
    for (int64_t item = 0; item < items.codes.shape[0]; ++item) {
      outside |= static_cast<uint32_t>(codes[item * stride]) + 1 > most;
    }
    if (outside) refuse_code(items, level, argument);
  }
}

void check_items(const ItemRows& items, int64_t num_items, const char* argument = "codes") {
  const auto levels = static_cast<int64_t>(items.level_sizes.size());
  kCheck.tensor(items.codes, argument, DType::kInt32, {{"item", num_items}, {"level", levels}});
  kCheck.contiguous_rows(items.codes, argument);
  if (items.codes.numel() > UINT32_MAX) {
    kCheck.refuse(argument, "at most 2^32 - 1 codes", shape_text(items.codes));
  }
  for (const int64_t size : items.level_sizes) {
    if (size < 1) kCheck.refuse("level_sizes", "sizes of at least 1", std::to_string(size));
  }
  if (items.num_rows() > INT32_MAX) {
    kCheck.refuse("level_sizes", "at most 2^31 - 1 rows", std::to_string(items.num_rows()));
  }
  if (items.codes.device == Device::kCpu) check_codes(items, argument);
}

void check_table(const RowTable& table, int64_t dim, const char* argument) {
  const int64_t num_rows = table.items.num_rows();
  if (table.rows.dtype != DType::kInt8) kCheck.floats(table.rows, argument, 2);
  kCheck.tensor(table.rows, argument, table.rows.dtype, {{"row", num_rows}, {"dim", dim}});
  kCheck.contiguous_rows(table.rows, argument);
  if ((table.rows.dtype == DType::kInt8) != (table.row_scales != nullptr)) {
    kCheck.refuse("row_scales", "one for each row of an int8 table, and none for floats",
                  table.row_scales == nullptr ? "none" : "some");
  }
  if (table.row_scales == nullptr) return;
  kCheck.tensor(*table.row_scales, "row_scales", DType::kFloat32, {{"row", num_rows}});
  kCheck.contiguous_rows(*table.row_scales, "row_scales");
}

}  // namespace

void check_sid_embedding_bag(const ItemBags& bags, const std::vector<RowTable>& tables,
                             const TensorView& out) {
  const int64_t num_items = tables.front().items.codes.shape[0];
  kCheck.one_device({{&tables.front().rows, "table"},
                     {&tables.front().items.codes, "codes"},
                     {&bags.offsets, "offsets"},
                     {bags.weights, "weights"},
                     {bags.bag_scales, "bag_scales"},
                     {tables.front().row_scales, "row_scales"},
                     {&tables.back().items.codes, "side_ids"},
                     {&tables.back().rows, "side_table"},
                     {&out, "out"}});
  check_bags(bags, num_items);
  kCheck.floats(out, "out", 2);
  const int64_t dim = out.shape[1];
  kCheck.tensor(out, "out", out.dtype, {{"bag", bags.size()}, {"dim", dim}});
  kCheck.contiguous_rows(out, "out");
  kCheck.writable(out, "out");
  for (const RowTable& table : tables) {
    const bool side = &table != &tables.front();
    check_items(table.items, num_items, side ? "side_ids" : "codes");
    check_table(table, dim, side ? "side_table" : "table");
  }
}

void check_sid_embedding_bag_backward(const ItemBags& bags, const ItemRows& items,
                                      const TensorView& grad_out, const TensorView& grad_table) {
  const int64_t num_items = items.codes.shape[0];
  kCheck.one_device({{&grad_out, "grad_out"},
                     {&items.codes, "codes"},
                     {&bags.offsets, "offsets"},
                     {bags.weights, "weights"},
                     {bags.bag_scales, "bag_scales"},
                     {&grad_table, "out"}});
  check_bags(bags, num_items);
  check_items(items, num_items);
  kCheck.floats(grad_out, "grad_out", 2);
  const int64_t dim = grad_out.shape[1];
  kCheck.tensor(grad_out, "grad_out", grad_out.dtype, {{"bag", bags.size()}, {"dim", dim}});
  kCheck.contiguous_rows(grad_out, "grad_out");
  kCheck.tensor(grad_table, "out", DType::kFloat32, {{"row", items.num_rows()}, {"dim", dim}});
  kCheck.contiguous_rows(grad_table, "out");
  kCheck.writable(grad_table, "out");
}

}  // namespace onesearch
