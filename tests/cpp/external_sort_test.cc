#include "index/external_sort.h"

#include <algorithm>
#include <filesystem>
#include <numeric>
#include <random>
#include <tuple>
#include <vector>

#include "check.h"
#include "core/error.h"
#include "cpu/thread_pool.h"
#include "index/item_order.h"

using namespace onesearch;
using namespace onesearch::testing;

namespace {

struct Rows {
  std::vector<WideKey> keys;
  std::vector<int64_t> ids;
  std::vector<double> scores;

  std::vector<uint32_t> in_order(PriorColumns columns) const {
    std::vector<uint32_t> rows(keys.size());
    std::iota(rows.begin(), rows.end(), 0);
    const auto rank = [&](uint32_t row) {
      return std::pair(keys[row],
                       prior_key(columns.ids ? ids[row] : row, columns.scores ? scores[row] : 0.0));
    };
    std::sort(rows.begin(), rows.end(), [&](uint32_t a, uint32_t b) { return rank(a) < rank(b); });
    return rows;
  }
};

Rows random_rows(size_t n, uint64_t num_keys) {
  std::mt19937_64 random(n + num_keys);
  Rows rows;
  for (size_t i = 0; i < n; ++i) {
    rows.keys.push_back(random() % num_keys);
    rows.ids.push_back(static_cast<int64_t>(i * 13 + 5));
    rows.scores.push_back(static_cast<double>(random() % 3));
  }
  std::shuffle(rows.ids.begin(), rows.ids.end(), random);
  return rows;
}

// Sorted in batches of about 100 rows that come in pieces of other sizes.
template <class Key>
bool is_merged(const Rows& rows, PriorColumns columns) {
  const std::string folder = std::filesystem::temp_directory_path();
  ExternalSort<Key> sort({8 * sizeof(Key), columns, folder, 10'000});
  const auto n = static_cast<int64_t>(rows.keys.size());
  int64_t size = 1;
  for (int64_t at = 0; at < n; at += size, size = size * 3 % 257) {
    size = std::min(size, n - at);
    const auto read_keys = [&](int64_t first, int64_t count, Key* keys) {
      for (int64_t i = 0; i < count; ++i) keys[i] = static_cast<Key>(rows.keys[at + first + i]);
    };
    sort.add(size, read_keys, columns.ids ? rows.ids.data() + at : nullptr,
             columns.scores ? rows.scores.data() + at : nullptr);
  }
  bool same = sort.num_rows() == n;
  const RowTable<Key> merged = sort.merge();
  const std::vector<uint32_t> expected = rows.in_order(columns);
  same = same && merged.size() == n && merged.keys()[-1] == static_cast<Key>(~merged.keys()[0]);
  for (int64_t i = 0; same && i < n; ++i) {
    const uint32_t row = expected[i];
    same = merged.rows()[i] == row && merged.keys()[i] == static_cast<Key>(rows.keys[row]) &&
           (!columns.ids || merged.ids()[i] == rows.ids[row]) &&
           (!columns.scores || merged.scores()[i] == rows.scores[row]);
  }
  return same;
}

}  // namespace

TEST(batches_are_merged_into_one_order) {
  for (const int threads : {1, 3}) {
    set_num_threads(threads);
    for (const size_t n : {1, 99, 700}) {
      for (const uint64_t num_keys : {uint64_t{1}, uint64_t{7}, uint64_t{1} << 40}) {
        const Rows rows = random_rows(n, num_keys);
        CHECK(is_merged<uint64_t>(rows, {false, false}));
        CHECK(is_merged<uint64_t>(rows, {true, false}));
        CHECK(is_merged<WideKey>(rows, {false, true}));
        CHECK(is_merged<WideKey>(rows, {true, true}));
      }
    }
  }
}

TEST(a_folder_that_is_not_there_is_an_error) {
  ExternalSort<uint64_t> sort({64, {}, "/no/such/folder", 1 << 20});
  const auto read_keys = [](int64_t, int64_t, uint64_t* keys) { *keys = 1; };
  sort.add(1, read_keys, nullptr, nullptr);
  CHECK_THROWS(IoError, "/no/such/folder", sort.merge());
}
