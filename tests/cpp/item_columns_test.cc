// Columns: what comes in comes out again, as few bytes as hold it; files and their mutations.
#include "index/item_columns.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "catalogue.h"
#include "check.h"
#include "core/error.h"
#include "fuzz_item_columns.h"
#include "item_rows.h"

using namespace onesearch;
using namespace onesearch::testing;

namespace {

const double kNaN = std::nan("");

// A column of every kind, with missing values.
struct Rows {
  Rows(uint32_t seed, uint32_t num_rows) : n(num_rows) {
    std::mt19937 random(seed);
    for (uint32_t i = 0; i < n; ++i) {
      prices.push_back(static_cast<double>(random() % 1000) / 4);
      sales.push_back(static_cast<int64_t>(random() % 70000) - 100);
      brands.push_back(static_cast<int64_t>(random() % 3));
      paths.emplace_back();
      for (uint32_t left = random() % 4; left > 0; --left) {
        paths.back().push_back(static_cast<int64_t>(random() % 4));
      }
    }
    stock = random_mask(random, n, 2);
    missing = random_mask(random, n, 5);
    lists = std::make_unique<ListRows>("path", paths, names, missing.get());
  }

  std::vector<ColumnRows> columns() const {
    return {real_rows("price", prices, missing.get()), integer_rows("sales", sales, missing.get()),
            bool_rows("stock", stock.get(), n, missing.get()),
            category_rows("brand", brands, {"b", "a", "c"}, missing.get()), lists->rows};
  }

  std::string text(uint32_t row) const {
    if (missing[row]) return "price=?;sales=?;stock=?;brand=?;path=?;";
    std::string path;
    for (const int64_t code : paths[row]) path += names[code] + "/";
    return "price=" + std::to_string(prices[row]) + ";sales=" + std::to_string(sales[row]) +
           ";stock=" + std::to_string(stock[row]) + ";brand=" + "bac"[brands[row]] +
           ";path=" + path + ";";
  }

  uint32_t n;
  std::vector<std::string> names = {"home", "garden", "été", "tools"};
  std::vector<double> prices;
  std::vector<int64_t> sales;
  std::vector<int64_t> brands;
  std::vector<std::vector<int64_t>> paths;
  std::unique_ptr<bool[]> stock;
  std::unique_ptr<bool[]> missing;
  std::unique_ptr<ListRows> lists;
};

std::string bytes_of(const ItemColumns& columns) {
  return std::string(reinterpret_cast<const char*>(columns.image().data()), columns.nbytes());
}

}  // namespace

TEST(what_comes_in_comes_out) {
  for (const uint32_t n : {1u, 64u, 1000u, 70000u}) {
    const Rows rows(n, n);
    const ItemColumnsHandle columns = ItemColumns::build(n, rows.columns());
    columns->verify();
    for (uint32_t i = 0; i < n; ++i) CHECK_EQUAL(item_text(*columns, i), rows.text(i));

    std::vector<uint32_t> order(n);
    for (uint32_t i = 0; i < n; ++i) order[i] = n - 1 - i;
    const ItemColumnsHandle reversed = ItemColumns::build(n, rows.columns(), order.data(), 77);
    CHECK_EQUAL(reversed->catalogue(), 77u);
    for (uint32_t i = 0; i < n; ++i) CHECK_EQUAL(item_text(*reversed, i), rows.text(n - 1 - i));
    CHECK(bytes_of(*ItemColumns::take(*reversed, nullptr, order.data(), n)) == bytes_of(*columns));
  }
}

TEST(cells_take_as_few_bytes_as_hold_them) {
  const auto type_of = [](std::vector<int64_t> values, bool missing) {
    const auto mask = std::make_unique<bool[]>(values.size());
    mask[0] = missing;
    return ItemColumns::build(static_cast<uint32_t>(values.size()),
                              {integer_rows("x", values, mask.get())})
        ->columns()[0]
        .type;
  };
  CHECK(type_of({0, 255}, false) == CellType::kUInt8);
  CHECK(type_of({-1, 127}, false) == CellType::kInt8);
  CHECK(type_of({-1, 128}, false) == CellType::kInt16);
  CHECK(type_of({256, 65535}, false) == CellType::kUInt16);
  CHECK(type_of({0, 65536}, false) == CellType::kUInt32);
  CHECK(type_of({-32769, 5}, false) == CellType::kInt32);
  CHECK(type_of({0, int64_t{1} << 32}, false) == CellType::kInt64);
  // What is missing does not count, but holds 0.
  CHECK(type_of({int64_t{1} << 40, -5}, true) == CellType::kInt8);

  const auto real_type = [](std::vector<double> values) {
    return ItemColumns::build(static_cast<uint32_t>(values.size()),
                              {real_rows("x", values, nullptr)})
        ->columns()[0]
        .type;
  };
  CHECK(real_type({0.5, kNaN, HUGE_VAL}) == CellType::kFloat32);
  CHECK(real_type({0.1}) == CellType::kFloat64);
  CHECK(real_type({1e300}) == CellType::kFloat64);
}

TEST(dictionaries_hold_what_is_used_once_and_in_order) {
  const ItemColumnsHandle columns = ItemColumns::build(
      4,
      {category_rows("x", {4, 1, 0, 1}, {"pear", "apple", "unused", "unused", "pear"}, nullptr)});
  const ColumnView& column = columns->columns()[0];
  CHECK_EQUAL(column.num_categories, 2u);
  CHECK_EQUAL(column.category(0), "apple");
  CHECK_EQUAL(column.category(1), "pear");
  CHECK_EQUAL(integer_at(column, 0), 1);
}

TEST(items_of_two_sets_are_taken_together) {
  const Rows first(1, 900);
  const Rows second(2, 300);
  const ItemColumnsHandle a = ItemColumns::build(first.n, first.columns());
  const ItemColumnsHandle b = ItemColumns::build(second.n, second.columns());
  std::mt19937 random(3);
  std::vector<uint32_t> positions(2000);
  for (uint32_t& position : positions) position = random() % 1200;
  positions[7] = ItemColumns::kNoItem;
  const ItemColumnsHandle taken = ItemColumns::take(*a, b.get(), positions.data(), 2000, 9);
  taken->verify();
  for (uint32_t i = 0; i < 2000; ++i) {
    const std::string expected = i == 7               ? "price=?;sales=?;stock=?;brand=?;path=?;"
                                 : positions[i] < 900 ? first.text(positions[i])
                                                      : second.text(positions[i] - 900);
    CHECK_EQUAL(item_text(*taken, i), expected);
  }
  positions[0] = 1200;
  CHECK_THROWS(InvalidArgument, "positions below 1200, got 1200",
               ItemColumns::take(*a, b.get(), positions.data(), 2000));
  const ItemColumnsHandle other = ItemColumns::build(1, {integer_rows("sales", {1}, nullptr)});
  CHECK_THROWS(InvalidArgument, "those of the other items: 5, got 1",
               ItemColumns::take(*a, other.get(), positions.data(), 1));
}

TEST(each_column_is_gathered_by_its_own_rows_from_parts_that_may_lack_it) {
  const Rows first(1, 900);
  const Rows second(2, 300);
  const ItemColumnsHandle a = ItemColumns::build(first.n, first.columns());
  const ItemColumnsHandle b =
      ItemColumns::build(second.n, {second.columns()[3], second.columns()[0]});  // brand and price
  std::mt19937 random(3);
  std::vector<std::vector<uint32_t>> rows(5, std::vector<uint32_t>(500));
  std::vector<const uint32_t*> pointers;
  for (std::vector<uint32_t>& of_column : rows) {
    for (uint32_t& row : of_column) row = random() % 1200;
    of_column[7] = ItemColumns::kNoItem;
    pointers.push_back(of_column.data());
  }
  const ItemColumnsHandle gathered = ItemColumns::gather({a.get(), b.get()}, pointers, 500);
  gathered->verify();
  const ItemColumnsHandle both = ItemColumns::build(second.n, second.columns());
  for (uint32_t column = 0; column < 5; ++column) {
    const bool in_b = column == 0 || column == 3;
    std::vector<uint32_t> expected = rows[column];
    for (uint32_t& row : expected) row = row < 900 || in_b ? row : ItemColumns::kNoItem;
    const auto taken = ItemColumns::take(*a, both.get(), expected.data(), 500);
    for (uint32_t i = 0; i < 500; ++i) {
      CHECK_EQUAL(cell_text(gathered->columns()[column], i),
                  cell_text(taken->columns()[column], i));
    }
  }
  rows[2][3] = 1200;
  CHECK_THROWS(InvalidArgument, "positions below 1200, got 1200",
               ItemColumns::gather({a.get(), b.get()}, pointers, 500));
}

TEST(columns_are_replaced_by_name) {
  const Rows rows(4, 500);
  const Rows others(5, 500);
  const ItemColumnsHandle columns = ItemColumns::build(500, rows.columns());
  std::vector<ColumnRows> two = {others.columns()[3], others.columns()[0]};
  const ItemColumnsHandle replaced = columns->with_columns(*ItemColumns::build(500, two));
  replaced->verify();
  std::vector<ColumnRows> expected = rows.columns();
  expected[0] = others.columns()[0];
  expected[3] = others.columns()[3];
  CHECK(bytes_of(*replaced) == bytes_of(*ItemColumns::build(500, expected)));

  two[0].name = "colour";
  CHECK_THROWS(InvalidArgument, "colour: expected a column that is there",
               columns->with_columns(*ItemColumns::build(500, two)));
  two[0] = integer_rows("brand", rows.sales, nullptr);
  CHECK_THROWS(InvalidArgument, "brand: expected category, got integer",
               columns->with_columns(*ItemColumns::build(500, two)));
}

TEST(bad_rows_are_refused) {
  const std::vector<int64_t> three = {1, 2, 3};
  CHECK_THROWS(InvalidArgument, "x: expected 2 values, one an item, got 3",
               ItemColumns::build(2, {integer_rows("x", three, nullptr)}));
  CHECK_THROWS(InvalidArgument, "names in UTF-8, not empty",
               ItemColumns::build(3, {integer_rows("\xff", three, nullptr)}));
  CHECK_THROWS(InvalidArgument, "distinct names, got x twice",
               ItemColumns::build(
                   3, {integer_rows("x", three, nullptr), integer_rows("x", three, nullptr)}));
  CHECK_THROWS(InvalidArgument, "indexes of the categories, got 3",
               ItemColumns::build(3, {category_rows("x", three, {"a", "b", "c"}, nullptr)}));
  CHECK_THROWS(InvalidArgument, "a dtype of kind real, got int64",
               ItemColumns::build(3, {rows_of("x", ColumnKind::kReal,
                                              integer_rows("x", three, nullptr).values, nullptr)}));
}

TEST(files_hold_the_same_bytes) {
  const Rows rows(6, 3000);
  const ItemColumnsHandle columns = ItemColumns::build(3000, rows.columns(), nullptr, 5);
  const ScratchFile file;
  columns->save(file.path());
  for (const bool verify : {false, true}) {
    const ItemColumnsHandle loaded = ItemColumns::load(file.path(), verify);
    CHECK(bytes_of(*loaded) == bytes_of(*columns));
    CHECK(item_texts(*loaded) == item_texts(*columns));
  }
  CHECK(bytes_of(*ItemColumns::from_bytes(columns->image().data(), columns->nbytes(), "test")) ==
        bytes_of(*columns));
  CHECK_THROWS(ColumnsFormatError, "at least 64 bytes",
               ItemColumns::from_bytes(nullptr, 0, "test"));
}

TEST(every_altered_byte_is_noticed) {
  const std::string sound = bytes_of(*ItemColumns::build(70, Rows(7, 70).columns()));
  for (size_t i = 0; i < sound.size(); ++i) {
    std::string altered = sound;
    altered[i] = static_cast<char>(altered[i] ^ 0x10);
    if (load_columns(altered, true) != nullptr) {
      fail(__FILE__, __LINE__, "unnoticed at byte " + std::to_string(i));
    }
  }
  for (size_t size = 0; size < sound.size(); size += size < 300 ? 1 : 64) {
    CHECK(load_columns(sound.substr(0, size), false) == nullptr);
  }
  CHECK(load_columns(sound + std::string(64, '\0'), false) == nullptr);
}

TEST(altered_bytes_do_no_harm_unverified) {
  std::mt19937 random(8);
  for (const uint32_t n : {1u, 70u, 400u}) {
    const std::string sound = bytes_of(*ItemColumns::build(n, Rows(n, n).columns()));
    for (int round = 0; round < 700; ++round) {
      std::string altered = sound;
      for (uint32_t left = 1 + random() % 30; left > 0; --left) {
        const size_t from = random() % 6 == 0 ? 0 : 300;
        const uint32_t hostile[] = {0,          1,          255,
                                    0x7fffffff, 0xffffffff, static_cast<uint32_t>(random())};
        const size_t at = (from + random() % (altered.size() - from - 4)) / 4 * 4;
        std::memcpy(altered.data() + at, &hostile[random() % 6], 4);
      }
      reseal_columns(altered);
      if (const ItemColumnsHandle columns = load_columns(altered, false))
        query_everything(*columns);
    }
  }
}
