#include "index/row_sort.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "check.h"
#include "core/error.h"
#include "cpu/thread_pool.h"

using namespace onesearch;
using namespace onesearch::testing;

namespace {

template <class Key>
bool is_sorted_as_by_std(const std::vector<Key>& keys, int bits) {
  const auto n = static_cast<int64_t>(keys.size());
  RowTable<Key> sorted(n);
  const auto read_keys = [&](int64_t first, int64_t count, Key* to) {
    std::copy_n(keys.begin() + first, count, to);
  };
  sort_rows<Key>(bits, read_keys, &sorted);
  std::vector<uint32_t> expected(keys.size());
  std::iota(expected.begin(), expected.end(), 0);
  std::stable_sort(expected.begin(), expected.end(),
                   [&](uint32_t a, uint32_t b) { return keys[a] < keys[b]; });
  bool same = sorted.size() == n && sorted.keys()[-1] == static_cast<Key>(~sorted.keys()[0]);
  for (int64_t i = 0; i < n; ++i) {
    same = same && sorted.rows()[i] == expected[i] && sorted.keys()[i] == keys[expected[i]];
  }
  return same;
}

template <class Key>
Key low_bits(Key value, int bits) {
  const int above = 8 * static_cast<int>(sizeof(Key)) - bits;
  return static_cast<Key>(value << above) >> above;
}

template <class Key>
struct Pattern {
  std::string name;
  std::function<Key(int64_t i, int64_t n, std::mt19937_64& random)> key;
};

template <class Key>
std::vector<Pattern<Key>> patterns() {
  using Random = std::mt19937_64;
  const auto any = [](Random& random) {
    return static_cast<Key>(static_cast<WideKey>(random()) << 64 | random());
  };
  return {
      {"random", [any](int64_t, int64_t, Random& random) { return any(random); }},
      {"equal", [](int64_t, int64_t, Random&) { return Key{1}; }},
      {"zero", [](int64_t, int64_t, Random&) { return Key{0}; }},
      {"ascending", [](int64_t i, int64_t, Random&) { return static_cast<Key>(i); }},
      {"descending", [](int64_t i, int64_t n, Random&) { return static_cast<Key>(n - i); }},
      {"organ pipe",
       [](int64_t i, int64_t n, Random&) { return static_cast<Key>(std::min(i, n - i)); }},
      {"saw", [](int64_t i, int64_t, Random&) { return static_cast<Key>(i % 1000); }},
      {"two values",
       [](int64_t, int64_t, Random& random) { return random() % 2 ? ~Key{0} : Key{0}; }},
      {"one apart", [](int64_t i, int64_t n, Random&) { return i == n / 2 ? Key{0} : ~Key{0}; }},
      {"low bits",
       [](int64_t, int64_t, Random& random) { return static_cast<Key>(random() % 4096); }},
      {"middle bits", [any](int64_t, int64_t,
                            Random& random) { return static_cast<Key>(any(random) >> 20 << 30); }},
      // Half of what remains has one more leading zero: every cut leaves one large part.
      {"geometric",
       [any](int64_t, int64_t, Random& random) {
         const int shift = __builtin_ctzll(random() | uint64_t{1} << 60);
         return static_cast<Key>(any(random) >> shift);
       }},
  };
}

template <class Key>
void check_patterns(const std::vector<int64_t>& sizes, const std::vector<int>& widths) {
  std::mt19937_64 random(11);
  for (const Pattern<Key>& pattern : patterns<Key>()) {
    for (const int64_t n : sizes) {
      for (const int bits : widths) {
        std::vector<Key> keys(static_cast<size_t>(n));
        for (int64_t i = 0; i < n; ++i) keys[i] = low_bits(pattern.key(i, n, random), bits);
        if (is_sorted_as_by_std(keys, bits)) continue;
        fail(
            __FILE__, __LINE__,
            pattern.name + ", " + std::to_string(n) + " keys of " + std::to_string(bits) + " bits");
      }
    }
  }
}

}  // namespace

TEST(few_rows_are_sorted) {
  for (const int threads : {1, 3}) {
    set_num_threads(threads);
    const std::vector<int64_t> sizes = {1, 2, 3, 7, 8, 9, 63, 64, 65, 1023, 1024, 1025, 5000};
    check_patterns<uint64_t>(sizes, {1, 2, 13, 33, 63, 64});
    check_patterns<WideKey>(sizes, {1, 65, 100, 128});
  }
}

TEST(many_rows_are_sorted) {
  for (const int threads : {1, 3}) {
    set_num_threads(threads);
    check_patterns<uint64_t>({140'001}, {12, 64});
    check_patterns<WideKey>({140'001}, {128});
  }
}

// More than a leaf holds agree in their leading bits, twice over: ranges are cut again and again,
// and go from one memory to the other and back.
TEST(ranges_too_large_for_a_leaf_are_cut_again) {
  set_num_threads(2);
  std::mt19937_64 random(13);
  std::vector<uint64_t> keys(400'000);
  for (size_t i = 0; i < keys.size(); ++i) {
    const uint64_t head = i % 3 == 0 ? 0 : random() % 7;
    keys[i] = head << 61 >> 1 | (random() % 2) << 40 | (i % 5 == 0 ? random() % 1000 : 77);
  }
  CHECK(is_sorted_as_by_std(keys, 64));
}

TEST(keys_that_change_while_they_are_read_are_refused) {
  set_num_threads(1);
  const int64_t n = 50'000;
  int64_t num_read = 0;
  RowTable<uint64_t> sorted(n);
  const auto read_keys = [&](int64_t, int64_t count, uint64_t* keys) {
    // Even at the first reading, then all in the last part.
    for (int64_t i = 0; i < count; ++i) keys[i] = num_read < n ? (num_read + i) % 64 : 63;
    num_read += count;
  };
  CHECK_THROWS(InvalidArgument, "arrays that changed", sort_rows<uint64_t>(6, read_keys, &sorted));
}
