// The builder against one that is too simple to be wrong: equal bytes on every tier, for any number
// of threads.
#include "index/trie_builder.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "catalogue.h"
#include "check.h"
#include "cpu/thread_pool.h"
#include "index/partition_writer.h"
#include "tiers.h"

using namespace onesearch;
using namespace onesearch::testing;

namespace {

template <class T>
T* writable(const T* section) {
  return const_cast<T*>(section);
}

// Rows by SID, then as the trie lists the items of a SID.
std::vector<uint32_t> rows_in_order(const RandomCatalogue& catalogue) {
  std::vector<uint32_t> rows(static_cast<size_t>(catalogue.num_items()));
  std::iota(rows.begin(), rows.end(), 0);
  std::sort(rows.begin(), rows.end(), [&](uint32_t a, uint32_t b) {
    const Code left = catalogue.code(a);
    const Code right = catalogue.code(b);
    if (left != right) return left < right;
    if (catalogue.scores[a] != catalogue.scores[b])
      return catalogue.scores[a] > catalogue.scores[b];
    return item_hash(catalogue.ids[a]) < item_hash(catalogue.ids[b]);
  });
  return rows;
}

// The first level in which a row leaves the path of the row before it.
int branch_level(const RandomCatalogue& catalogue, const std::vector<uint32_t>& rows, size_t i) {
  if (i == 0) return 0;
  const Code code = catalogue.code(rows[i]);
  const Code before = catalogue.code(rows[i - 1]);
  return static_cast<int>(std::mismatch(code.begin(), code.end(), before.begin()).first -
                          code.begin());
}

TrieShape shape_of(const RandomCatalogue& catalogue, const std::vector<uint32_t>& rows) {
  TrieShape shape;
  shape.num_levels = catalogue.num_levels();
  shape.num_items = static_cast<uint32_t>(rows.size());
  shape.num_nodes[0] = 1;
  shape.has_item_ids = true;
  shape.has_item_scores = true;
  for (int level = 0; level < shape.num_levels; ++level) {
    shape.level_sizes[level] = static_cast<uint32_t>(catalogue.level_sizes[level]);
    for (size_t i = 0; i < rows.size(); ++i) {
      if (branch_level(catalogue, rows, i) <= level) ++shape.num_nodes[level + 1];
    }
  }
  return shape;
}

void write_levels(const RandomCatalogue& catalogue, const std::vector<uint32_t>& rows,
                  const SidTrieView& view) {
  std::vector<uint32_t> nodes(SidTrieView::kMaxLevels + 1);
  PartitionWriter(view.child_partition[0]).begin(0, 0);
  for (size_t i = 0; i < rows.size(); ++i) {
    for (int level = branch_level(catalogue, rows, i); level < view.num_levels; ++level) {
      const uint32_t node = nodes[level + 1]++;
      const int32_t token = catalogue.code(rows[i])[level];
      if (view.token_bytes(level) == 1) {
        writable(view.tokens8(level))[node] = static_cast<uint8_t>(token);
      } else {
        writable(view.tokens16(level))[node] = static_cast<uint16_t>(token);
      }
      if (level + 1 < view.num_levels) {
        PartitionWriter(view.child_partition[level + 1]).begin(node, nodes[level + 2]);
      }
      PartitionWriter(view.item_partition[level + 1]).begin(node, static_cast<uint32_t>(i));
    }
  }
  for (const Partition& partition : view.child_partition) PartitionWriter(partition).finish();
  for (const Partition& partition : view.item_partition) PartitionWriter(partition).finish();
}

Bytes simple_image(const RandomCatalogue& catalogue) {
  const std::vector<uint32_t> rows = rows_in_order(catalogue);
  Bytes image = make_image(shape_of(catalogue, rows));
  const SidTrieView view = unsealed_view(image);
  write_levels(catalogue, rows, view);
  std::vector<uint32_t> positions(rows.size());
  std::iota(positions.begin(), positions.end(), 0);
  for (const uint32_t position : positions) {
    writable(view.item_rows)[position] = rows[position];
    writable(view.item_ids)[position] = catalogue.ids[rows[position]];
    writable(view.item_scores)[position] = static_cast<float>(catalogue.scores[rows[position]]);
  }
  std::sort(positions.begin(), positions.end(),
            [&](uint32_t a, uint32_t b) { return view.item_ids[a] < view.item_ids[b]; });
  std::copy(positions.begin(), positions.end(), writable(view.position_by_id));
  seal_image(image);
  return image;
}

bool equal(const Bytes& a, const Bytes& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size()) == 0;
}

void check_builds(const std::string& name, const RandomCatalogue& catalogue) {
  const Bytes expected = simple_image(catalogue);
  CatalogueCodes input = catalogue.input();
  input.keep_scores = true;
  on_every_tier([&] {
    for (const int threads : {1, 3}) {
      set_num_threads(threads);
      if (equal(build_image(input), expected)) continue;
      fail(__FILE__, __LINE__,
           name + ", " + isa_tier_name(isa_tier()) + ", " + std::to_string(threads) + " threads");
    }
  });
}

const std::vector<std::vector<int64_t>> kShapes = {
    {2, 2},
    {65536, 65536},
    {300, 256, 257},
    {4, 40, 40, 40},
    {4096, 1024, 512, 256, 256},
    {2, 2, 2, 2, 2, 2, 2, 2},
    {65536, 65536, 65536, 65536},     // 64 bits
    {65536, 65536, 65536, 65536, 2},  // 65 bits
    {2, 65536, 65536, 65536, 65536, 65536, 65536, 65536},
    {65536, 65536, 65536, 65536, 65536, 65536, 65536, 65536},
};

}  // namespace

TEST(images_of_all_shapes_are_those_of_a_simple_builder) {
  uint32_t seed = 1;
  for (const auto& level_sizes : kShapes) {
    for (const int64_t num_items : {1, 2, 63, 64, 65, 3000}) {
      check_builds(std::to_string(level_sizes.size()) + " levels, " + std::to_string(num_items),
                   random_catalogue(seed++, level_sizes, num_items));
    }
  }
}

// More than one span, so that threads write neighbouring words; and levels in all three forms.
TEST(spans_meet_without_a_seam) {
  check_builds("narrow", random_catalogue(31, {3, 50, 100, 300}, 80'000));
  check_builds("wide", random_catalogue(32, {7, 65536, 65536, 65536, 65536, 65536}, 70'000));
  check_builds("shared", random_catalogue(33, {30, 40}, 70'000));
}

TEST(skewed_catalogues_are_built_alike) {
  const int64_t n = 70'000;
  const auto check = [&](const char* name, const std::function<int32_t(int64_t, int)>& code) {
    RandomCatalogue catalogue = random_catalogue(34, {512, 512, 512}, n);
    for (int64_t row = 0; row < n; ++row) {
      for (int level = 0; level < 3; ++level) catalogue.codes[row * 3 + level] = code(row, level);
    }
    check_builds(name, catalogue);
  };
  check("one SID", [](int64_t, int) { return 7; });
  check("one SID and another", [n](int64_t row, int) { return row == n / 2 ? 0 : 511; });
  check("sorted", [](int64_t row, int level) {
    return static_cast<int32_t>(row >> (9 * (2 - level)) & 511);
  });
  check("reversed", [n](int64_t row, int level) {
    return static_cast<int32_t>((n - row) >> (9 * (2 - level)) & 511);
  });
  check("one branch",
        [](int64_t row, int level) { return level < 2 ? 3 : static_cast<int32_t>(row % 512); });
}

TEST(priors_that_compare_equal_tie) {
  RandomCatalogue catalogue = random_catalogue(35, {2, 2}, 2000);
  const std::vector<double> values = {0.0,        -0.0,        1e-310, -1e-310,
                                      1e308 * 10, -1e308 * 10, -1.5,   2.5};
  for (size_t row = 0; row < catalogue.scores.size(); ++row) {
    catalogue.scores[row] = values[row % values.size()];
  }
  check_builds("priors", catalogue);
}
