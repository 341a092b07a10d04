#include "index/item_filter.h"

#include <algorithm>
#include <memory>
#include <random>
#include <vector>

#include "catalogue.h"
#include "check.h"
#include "core/error.h"

using namespace onesearch;
using namespace onesearch::testing;

namespace {

// What the filter must say, by looking at every item.
void check_filter(const SidTrie& trie, const ItemFilter& filter,
                  const std::vector<bool>& allowed_row) {
  const SidTrieView& view = trie.view();
  std::vector<bool> allowed_rank(view.num_sids());
  int64_t count = 0;
  const auto item_allowed = std::make_unique<bool[]>(view.num_items);
  filter.item_allowed(item_allowed.get());
  for (uint32_t rank = 0; rank < view.num_sids(); ++rank) {
    const NodeRange items = view.items(rank);
    for (uint32_t position = items.begin; position < items.end; ++position) {
      const bool allowed = allowed_row[static_cast<size_t>(view.item_row(position))];
      CHECK_EQUAL(item_allowed[position], allowed);
      CHECK_EQUAL(filter.view().base.has(position), allowed);
      if (allowed) allowed_rank[rank] = true;
      count += allowed;
    }
  }
  CHECK_EQUAL(filter.num_allowed_items(), count);
  CHECK_EQUAL(filter.num_allowed_sids(),
              std::count(allowed_rank.begin(), allowed_rank.end(), true));
  for (int level = 0; level <= view.num_levels; ++level) {
    for (int64_t node = 0; node < view.num_nodes[level]; ++node) {
      const NodeRange range = view.ranks(level, node);
      bool expected = false;
      for (uint32_t rank = range.begin; rank < range.end; ++rank) {
        expected = expected || allowed_rank[rank];
      }
      bool got = !expected;
      filter.allows(level, &node, 1, &got);
      CHECK_EQUAL(got, expected);
    }
  }
}

// One item a SID, so that the number of ranks is chosen.
RandomCatalogue distinct_catalogue(int64_t num_items) {
  RandomCatalogue catalogue = random_catalogue(1, {64, 64}, num_items);
  for (int64_t row = 0; row < num_items; ++row) {
    catalogue.codes[2 * row] = static_cast<int32_t>(row / 64);
    catalogue.codes[2 * row + 1] = static_cast<int32_t>(row % 64);
  }
  return catalogue;
}

std::unique_ptr<bool[]> mask_of(const std::vector<bool>& rows) {
  auto mask = std::make_unique<bool[]>(rows.size());
  std::copy(rows.begin(), rows.end(), mask.get());
  return mask;
}

}  // namespace

TEST(masks_and_ids_say_the_same) {
  std::mt19937 random(5);
  for (const int percent : {0, 1, 30, 99, 100}) {
    const RandomCatalogue catalogue = random_catalogue(2, {9, 8, 7}, 700);
    const auto trie = SidTrie::build(catalogue.input());
    std::vector<bool> rows(700);
    std::vector<int64_t> ids;
    for (int64_t row = 0; row < 700; ++row) {
      rows[row] = static_cast<int>(random() % 100) < percent;
      if (rows[row]) ids.push_back(catalogue.ids[row]);
    }
    const auto mask = mask_of(rows);
    const ItemSelection by_mask{mask.get(), nullptr, 0};
    const ItemSelection by_ids{nullptr, ids.data(), static_cast<int64_t>(ids.size())};
    check_filter(*trie, *ItemFilter::make(trie, &by_mask, nullptr), rows);
    check_filter(*trie, *ItemFilter::make(trie, &by_ids, nullptr), rows);
    rows.flip();
    check_filter(*trie, *ItemFilter::make(trie, nullptr, &by_mask), rows);
    check_filter(*trie, *ItemFilter::make(trie, nullptr, &by_ids), rows);
    check_filter(*trie, *ItemFilter::make(trie, &by_mask, &by_ids), std::vector<bool>(700));
  }
}

TEST(directories_are_right_at_every_border) {
  std::mt19937 random(6);
  for (const int64_t n : {1, 63, 64, 65, 511, 512, 513, 1023, 1024, 1025, 2048}) {
    const auto trie = SidTrie::build(distinct_catalogue(n).input());
    std::vector<bool> rows(n);
    for (int64_t row = 0; row < n; ++row) rows[row] = random() % 3 == 0;
    const auto mask = mask_of(rows);
    const ItemSelection allow{mask.get(), nullptr, 0};
    const auto filter = ItemFilter::make(trie, &allow, nullptr);
    check_filter(*trie, *filter, rows);
    CHECK_EQUAL(filter->view().base.count_before(static_cast<uint32_t>(n)),
                filter->num_allowed_items());
    const auto everything = ItemFilter::make(trie, nullptr, nullptr);
    CHECK_EQUAL(everything->num_allowed_items(), n);
    CHECK_EQUAL(everything->num_allowed_sids(), n);
  }
}

TEST(unknown_ids_match_nothing_and_are_counted) {
  const RandomCatalogue catalogue = distinct_catalogue(10);
  const auto trie = SidTrie::build(catalogue.input());
  const std::vector<int64_t> ids = {catalogue.ids[3], -1, 999999, catalogue.ids[3]};
  const ItemSelection allow{nullptr, ids.data(), 4};
  const auto filter = ItemFilter::make(trie, &allow, nullptr);
  CHECK_EQUAL(filter->num_allowed_items(), 1);
  CHECK_EQUAL(filter->num_unknown_ids(), 2);
}

TEST(nodes_that_do_not_exist_are_not_allowed) {
  const auto trie = SidTrie::build(distinct_catalogue(10).input());
  const auto filter = ItemFilter::make(trie, nullptr, nullptr);
  const int64_t nodes[3] = {-1, 10, 1000000};
  bool allowed[3] = {true, true, true};
  filter->allows(2, nodes, 3, allowed);
  for (const bool one : allowed) CHECK(!one);
  CHECK_THROWS(InvalidArgument, "level: expected 0 to 2, got 3",
               filter->allows(3, nodes, 3, allowed));
}
