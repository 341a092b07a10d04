// Conditions on columns, on every tier, against a look at each item.
#include "index/item_predicate.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "check.h"
#include "core/error.h"
#include "item_rows.h"
#include "tiers.h"

using namespace onesearch;
using namespace onesearch::testing;

namespace {

using Holds = std::function<bool(uint32_t)>;
using Limits = std::numeric_limits<int64_t>;
constexpr double kInfinity = std::numeric_limits<double>::infinity();
const double kNaN = std::nan("");

// The last chunk is short in all ways, and there are several.
const std::vector<uint32_t> kSizes = {1, 65, 1000, 65536 + 64, 140001};

void check_predicate(const ItemPredicate& predicate, const ItemColumns& columns,
                     const Holds& holds) {
  const uint32_t n = columns.num_items();
  std::vector<uint64_t> expected((n + 63) / 64);
  for (uint32_t i = 0; i < n; ++i) expected[i / 64] |= uint64_t{holds(i)} << (i % 64);
  std::vector<uint64_t> words(expected.size());
  evaluate(predicate, columns)->to_words(words.data());
  CHECK(words == expected);
}

ItemPredicate in_integers(std::vector<int64_t> low, std::vector<int64_t> high) {
  ItemPredicate predicate;
  predicate.add_integers("x", std::move(low), std::move(high));
  return predicate;
}

ItemPredicate in_reals(std::vector<double> low, std::vector<double> high) {
  ItemPredicate predicate;
  predicate.add_reals("x", std::move(low), std::move(high));
  return predicate;
}

template <class T>
bool in_any(T value, const std::vector<T>& low, const std::vector<T>& high) {
  for (size_t i = 0; i < low.size(); ++i) {
    if (low[i] <= value && value <= high[i]) return true;
  }
  return false;
}

int64_t random_between(std::mt19937_64& random, int64_t low, int64_t high) {
  const uint64_t span = static_cast<uint64_t>(high) - static_cast<uint64_t>(low);
  const uint64_t offset = span == ~uint64_t{0} ? random() : random() % (span + 1);
  return static_cast<int64_t>(static_cast<uint64_t>(low) + offset);
}

void check_integers(std::mt19937_64& random, uint32_t n, int64_t least, int64_t greatest,
                    bool some_missing) {
  std::vector<int64_t> values(n);
  for (int64_t& value : values) value = random_between(random, least, greatest);
  values[0] = least;
  values[n - 1] = greatest;
  const auto missing = random_mask(random, n, 3);
  const ItemColumnsHandle columns =
      ItemColumns::build(n, {integer_rows("x", values, some_missing ? missing.get() : nullptr)});
  const auto present = [&](uint32_t i) { return !some_missing || !missing[i]; };
  for (const size_t count : {0, 1, 3, 20, 200}) {
    std::vector<int64_t> low(count);
    for (int64_t& bound : low) {
      bound = random() % 2 == 0 ? values[random() % n] : random_between(random, least, greatest);
    }
    std::vector<int64_t> high = low;
    check_predicate(in_integers(low, high), *columns,
                    [&](uint32_t i) { return present(i) && in_any(values[i], low, high); });
    for (int64_t& bound : high) bound = random_between(random, least, greatest);
    check_predicate(in_integers(low, high), *columns,
                    [&](uint32_t i) { return present(i) && in_any(values[i], low, high); });
  }
  check_predicate(in_integers({Limits::min()}, {Limits::max()}), *columns, present);
}

template <class T>
void check_reals(std::mt19937_64& random, uint32_t n) {
  const std::vector<T> special = {T(0.0), T(-0.0), T(1.5), T(kInfinity), T(-kInfinity), T(kNaN)};
  std::uniform_real_distribution<double> uniform(-3.0, 3.0);
  std::vector<T> values(n);
  for (T& value : values) {
    value =
        random() % 3 == 0 ? special[random() % special.size()] : static_cast<T>(uniform(random));
  }
  const auto missing = random_mask(random, n, 5);
  const ItemColumnsHandle columns = ItemColumns::build(n, {real_rows("x", values, missing.get())});
  for (const size_t count : {0, 1, 3, 20}) {
    std::vector<double> low(count);
    for (double& bound : low) {
      bound = random() % 2 == 0 ? static_cast<double>(values[random() % n]) : uniform(random);
      if (std::isnan(bound)) bound = 0.0;
    }
    std::vector<double> high = low;
    const auto holds = [&](uint32_t i) {
      return !missing[i] && in_any(static_cast<double>(values[i]), low, high);
    };
    check_predicate(in_reals(low, high), *columns, holds);
    for (double& bound : high) bound = random() % 8 == 0 ? kInfinity : uniform(random);
    check_predicate(in_reals(low, high), *columns, holds);
  }
}

}  // namespace

TEST(integers_of_every_width_lie_in_intervals) {
  const std::vector<std::pair<int64_t, int64_t>> domains = {
      {0, 200},        {-100, 100},
      {0, 60000},      {-30000, 30000},
      {0, 4000000000}, {-2000000000, 2000000000},
      {5, 5},          {Limits::min(), Limits::max()}};
  std::mt19937_64 random(1);
  on_every_tier([&] {
    for (const uint32_t n : kSizes) {
      for (const auto& [least, greatest] : domains) {
        check_integers(random, n, least, greatest, n % 2 == 1);
      }
    }
  });
}

TEST(reals_of_both_widths_lie_in_intervals) {
  std::mt19937_64 random(2);
  on_every_tier([&] {
    for (const uint32_t n : kSizes) {
      check_reals<float>(random, n);
      check_reals<double>(random, n);
    }
  });
}

// Bounds between two floats, and past all of them.
TEST(bounds_that_are_no_floats_are_exact) {
  const std::vector<float> values = {0.1f, std::nextafter(0.1f, 1.0f), -0.1f, 3e38f,
                                     std::numeric_limits<float>::infinity()};
  const ItemColumnsHandle columns = ItemColumns::build(5, {real_rows("x", values, nullptr)});
  for (const double bound : {0.1, 0.100000002, -0.1, 1e300, -1e300, 1e-300, kInfinity}) {
    check_predicate(in_reals({bound}, {kInfinity}), *columns,
                    [&](uint32_t i) { return static_cast<double>(values[i]) >= bound; });
    check_predicate(in_reals({-kInfinity}, {bound}), *columns,
                    [&](uint32_t i) { return static_cast<double>(values[i]) <= bound; });
  }
}

TEST(categories_are_found_by_their_texts) {
  std::mt19937_64 random(3);
  on_every_tier([&] {
    for (const uint32_t num_categories : {1u, 3u, 255u, 256u, 700u, 5000u, 70000u}) {
      const uint32_t n = 80000;
      std::vector<std::string> texts(num_categories);
      for (uint32_t i = 0; i < num_categories; ++i) texts[i] = "c" + std::to_string(i * 7 % 99991);
      std::vector<int64_t> codes(n);
      for (uint32_t i = 0; i < n; ++i) {
        codes[i] = i < num_categories ? i : static_cast<int64_t>(random() % num_categories);
      }
      const auto missing = random_mask(random, n, 10);
      const ItemColumnsHandle columns =
          ItemColumns::build(n, {category_rows("x", codes, texts, missing.get())});
      for (const uint32_t one_in : {1u, 2u, 30u}) {
        std::vector<std::string> wanted = {"no such category"};
        std::set<int64_t> wanted_codes;
        for (uint32_t code = 0; code < num_categories; code += one_in) {
          wanted.push_back(texts[code]);
          wanted_codes.insert(code);
        }
        ItemPredicate predicate;
        predicate.add_texts("x", wanted);
        check_predicate(predicate, *columns, [&](uint32_t i) {
          return !missing[i] && wanted_codes.count(codes[i]) != 0;
        });
      }
      ItemPredicate absent;
      absent.add_missing("x");
      check_predicate(absent, *columns, [&](uint32_t i) { return missing[i]; });
    }
  });
}

TEST(lists_hold_any_of_some_categories) {
  std::mt19937_64 random(4);
  const uint32_t n = 70000;
  const std::vector<std::string> texts = {"shoes", "boots", "red", "", "boots"};
  std::vector<std::vector<int64_t>> lists(n);
  for (auto& list : lists) {
    for (uint64_t left = random() % 4; left > 0; --left)
      list.push_back(static_cast<int64_t>(random() % 5));
  }
  const auto missing = random_mask(random, n, 10);
  const ListRows rows("x", lists, texts, missing.get());
  const ItemColumnsHandle columns = ItemColumns::build(n, {rows.rows});
  for (const std::vector<std::string>& wanted :
       {std::vector<std::string>{"boots"}, {"red", "shoes"}, {""}, {"none"}, {}}) {
    ItemPredicate predicate;
    predicate.add_texts("x", wanted);
    check_predicate(predicate, *columns, [&](uint32_t i) {
      return !missing[i] && std::any_of(lists[i].begin(), lists[i].end(), [&](int64_t code) {
        return std::count(wanted.begin(), wanted.end(), texts[code]) != 0;
      });
    });
  }
}

TEST(joins_are_those_of_their_conditions) {
  std::mt19937_64 random(5);
  on_every_tier([&] {
    for (const uint32_t n : kSizes) {
      // Sorted values, so that whole chunks are in and out.
      std::vector<int64_t> sorted(n);
      for (uint32_t i = 0; i < n; ++i) sorted[i] = i / 7;
      std::vector<double> noise(n);
      for (double& value : noise) value = static_cast<double>(random() % 100);
      const auto stock = random_mask(random, n, 2);
      const auto missing = random_mask(random, n, 4);
      const ItemColumnsHandle columns = ItemColumns::build(
          n, {integer_rows("sorted", sorted, nullptr), real_rows("noise", noise, missing.get()),
              bool_rows("stock", stock.get(), n, missing.get())});
      const int64_t middle = n / 14;
      ItemPredicate predicate;  // (sorted <= middle or not noise <= 30) and stock and not missing
      predicate.add_integers("sorted", {Limits::min()}, {middle});
      predicate.add_reals("noise", {-kInfinity}, {30.0});
      predicate.negate();
      predicate.join_any(2);
      predicate.add_true("stock");
      predicate.add_missing("stock");
      predicate.negate();
      predicate.join_all(3);
      check_predicate(predicate, *columns, [&](uint32_t i) {
        const bool cheap = !missing[i] && noise[i] <= 30.0;
        return (sorted[i] <= middle || !cheap) && !missing[i] && stock[i];
      });
      ItemPredicate nothing;
      nothing.join_any(0);
      check_predicate(nothing, *columns, [](uint32_t) { return false; });
      nothing.negate();
      check_predicate(nothing, *columns, [](uint32_t) { return true; });
    }
  });
}

TEST(predicates_that_fit_no_columns_are_refused) {
  const ItemColumnsHandle columns = ItemColumns::build(2, {integer_rows("x", {1, 2}, nullptr)});
  ItemPredicate unknown;
  unknown.add_true("y");
  CHECK_THROWS(InvalidArgument, "one of the columns, got 'y'", evaluate(unknown, *columns));
  ItemPredicate other_kind;
  other_kind.add_texts("x", {"a"});
  CHECK_THROWS(InvalidArgument, "of its kind, got integer", evaluate(other_kind, *columns));
  ItemPredicate open;
  CHECK_THROWS(InvalidArgument, "one that joins all, got 0", open.root());
  open.add_missing("x");
  CHECK_THROWS(InvalidArgument, "at most 1 conditions, got 2", open.join_all(2));
  open.add_missing("x");
  CHECK_THROWS(InvalidArgument, "one that joins all, got 2", evaluate(open, *columns));
  CHECK_THROWS(InvalidArgument, "got NaN", open.add_reals("x", {kNaN}, {1.0}));
  CHECK_THROWS(InvalidArgument, "as many upper bounds", open.add_integers("x", {1}, {}));
  ItemPredicate deep;
  deep.add_missing("x");
  for (int depth = 1; depth < ItemPredicate::kMaxDepth; ++depth) deep.negate();
  CHECK_EQUAL(evaluate(deep, *columns)->count(), 2u);
  CHECK_THROWS(InvalidArgument, "at most 64 levels", deep.negate());
}

TEST(one_predicate_is_evaluated_by_many_threads) {
  std::vector<int64_t> values(200000);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<int64_t>(i % 1000);
  const ItemColumnsHandle columns =
      ItemColumns::build(200000, {integer_rows("x", values, nullptr)});
  const ItemPredicate predicate = in_integers({10}, {19});
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 10; ++round) {
        wrong += evaluate(predicate, *columns)->count() != 2000;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK_EQUAL(wrong.load(), 0);
}
