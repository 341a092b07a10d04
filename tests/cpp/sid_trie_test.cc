#include "index/sid_trie.h"

#include <fcntl.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <limits>
#include <vector>

#include "catalogue.h"
#include "check.h"
#include "core/error.h"
#include "core/file.h"

using namespace onesearch;
using namespace onesearch::testing;

namespace {

const std::vector<std::vector<int64_t>> kShapes = {
    {2, 2},
    {7, 65536},
    {40, 30, 20},
    {4096, 1024, 512, 256, 256},
    {65536, 65536, 65536, 65536, 65536},                       // 80 bits
    {3, 3, 3, 3, 3, 3, 3, 3},                                  // 16 bits
    {65536, 2, 65536, 2, 65536, 2, 65536, 2},                  // 68 bits
    {60000, 60000, 60000, 60000, 60000, 60000, 60000, 60000},  // 128 bits
};

TensorView view_of(std::vector<int32_t>& codes, int64_t num_levels) {
  TensorView view;
  view.data = codes.data();
  view.dtype = DType::kInt32;
  view.ndim = 2;
  view.shape = {static_cast<int64_t>(codes.size()) / num_levels, num_levels};
  view.strides = {num_levels, 1};
  return view;
}

void check_against_maps(const SidTrie& trie, const RandomCatalogue& catalogue) {
  const auto expected = catalogue.items();
  CHECK_EQUAL(trie.view().num_sids(), expected.size());
  CHECK_EQUAL(trie.view().num_items, catalogue.num_items());
  int64_t rank = 0;
  for (const auto& [code, ids] : expected) {
    std::vector<int32_t> query = code;
    int64_t found = -2;
    trie.rank(view_of(query, catalogue.num_levels()), &found);
    CHECK_EQUAL(found, rank);
    std::vector<int32_t> back(code.size());
    trie.codes(&rank, 1, back.data());
    CHECK(back == code);
    int64_t offsets[2];
    trie.item_offsets(&rank, 1, offsets);
    std::vector<int64_t> listed(static_cast<size_t>(offsets[1]));
    trie.items(&rank, 1, offsets, listed.data());
    CHECK(listed == ids);
    ++rank;
  }
}

void check_ranges(const SidTrie& trie) {
  const SidTrieView& view = trie.view();
  for (int level = 0; level <= view.num_levels; ++level) {
    uint32_t next = 0;
    for (uint32_t node = 0; node < view.num_nodes[level]; ++node) {
      const NodeRange range = view.ranks(level, node);
      CHECK_EQUAL(range.begin, next);
      CHECK(range.size() >= 1);
      next = range.end;
      if (level == view.num_levels) continue;
      const NodeRange children = view.children(level, node);
      CHECK_EQUAL(view.ranks(level + 1, children.begin).begin, range.begin);
      CHECK_EQUAL(view.ranks(level + 1, children.end - 1).end, range.end);
    }
    CHECK_EQUAL(next, view.num_sids());
  }
}

}  // namespace

TEST(a_trie_says_what_maps_say) {
  uint32_t seed = 1;
  for (const auto& level_sizes : kShapes) {
    for (const int64_t num_items : {1, 2, 500}) {
      const RandomCatalogue catalogue = random_catalogue(seed++, level_sizes, num_items);
      const auto trie = SidTrie::build(catalogue.input());
      trie->verify();
      check_against_maps(*trie, catalogue);
      check_ranges(*trie);
    }
  }
}

TEST(levels_with_few_nodes_store_their_items) {
  const auto trie = SidTrie::build(random_catalogue(3, {4, 40, 40, 40}, 3000).input());
  CHECK_EQUAL(trie->view().item_partition[1].num_parts, 4u);
  CHECK_EQUAL(trie->view().item_partition[3].num_parts, 0u);
  check_ranges(*trie);
}

TEST(absent_codes_have_no_rank) {
  const auto trie = SidTrie::build(random_catalogue(5, {40, 30, 20}, 50).input());
  std::vector<int32_t> codes = {-1, 0, 0, 0, -5, 0, 40, 0, 0, 39, 29, 19, 0, 0, 2147483647};
  std::vector<int64_t> ranks(5);
  trie->rank(view_of(codes, 3), ranks.data());
  for (const int64_t rank : ranks) CHECK_EQUAL(rank, -1);
}

TEST(every_integer_dtype_and_stride_builds_the_same_trie) {
  const RandomCatalogue catalogue = random_catalogue(7, {100, 90, 80}, 200);
  const auto expected = SidTrie::build(catalogue.input());
  const auto check = [&](auto zero, DType dtype) {
    using T = decltype(zero);
    // Columns first, every second element: both strides unusual.
    std::vector<T> spread(200 * 3 * 2);
    for (int64_t row = 0; row < 200; ++row) {
      for (int level = 0; level < 3; ++level) {
        spread[2 * (level * 200 + row)] = static_cast<T>(catalogue.codes[row * 3 + level]);
      }
    }
    CatalogueCodes input = catalogue.input();
    input.codes.data = spread.data();
    input.codes.dtype = dtype;
    input.codes.strides = {2, 400};
    const auto trie = SidTrie::build(input);
    CHECK_EQUAL(trie->view().num_sids(), expected->view().num_sids());
    check_against_maps(*trie, catalogue);
  };
  check(int8_t{}, DType::kInt8);
  check(int16_t{}, DType::kInt16);
  check(int32_t{}, DType::kInt32);
  check(int64_t{}, DType::kInt64);
  check(uint8_t{}, DType::kUInt8);
  check(uint16_t{}, DType::kUInt16);
  check(uint32_t{}, DType::kUInt32);
  check(uint64_t{}, DType::kUInt64);
}

TEST(row_numbers_are_the_default_ids) {
  RandomCatalogue catalogue = random_catalogue(9, {6, 5}, 300);
  for (int64_t row = 0; row < 300; ++row) catalogue.ids[row] = row;
  CatalogueCodes input = catalogue.input();
  input.item_ids = nullptr;
  const auto trie = SidTrie::build(input);
  trie->verify();
  check_against_maps(*trie, catalogue);
}

TEST(bad_catalogues_are_refused) {
  const RandomCatalogue good = random_catalogue(11, {10, 10}, 20);
  CatalogueCodes input = good.input();
  input.codes.shape = {0, 2};
  CHECK_THROWS(InvalidArgument, "1 to 2^31 - 1 items, got 0 items", SidTrie::build(input));
  input = good.input();
  input.codes.ndim = 1;
  CHECK_THROWS(InvalidArgument, "shape [num_items, 2], got [20]", SidTrie::build(input));
  input = good.input();
  input.codes.dtype = DType::kFloat32;
  CHECK_THROWS(TypeMismatch, "an integer dtype, got float32", SidTrie::build(input));
  for (const std::vector<int64_t>& sizes :
       {std::vector<int64_t>{10}, std::vector<int64_t>(9, 10)}) {
    input = good.input();
    input.level_sizes = sizes;
    CHECK_THROWS(InvalidArgument, "2 to 8 levels", SidTrie::build(input));
  }
  for (const int64_t size : {-1, 0, 1, 65537}) {
    input = good.input();
    input.level_sizes = {10, size};
    CHECK_THROWS(InvalidArgument, "sizes from 2 to 65536", SidTrie::build(input));
  }
}

TEST(the_first_bad_code_is_named) {
  RandomCatalogue catalogue = random_catalogue(13, {10, 10, 10}, 20);
  catalogue.codes[3 * 4 + 1] = -2;
  catalogue.codes[3 * 9 + 0] = 10;
  CHECK_THROWS(InvalidArgument, "[0, 10) at level 1, got -2 at row 4",
               SidTrie::build(catalogue.input()));
}

TEST(bad_items_are_refused) {
  RandomCatalogue catalogue = random_catalogue(15, {10, 10}, 20);
  catalogue.ids[17] = catalogue.ids[4];
  CHECK_THROWS(InvalidArgument, "at rows 4 and 17", SidTrie::build(catalogue.input()));
  catalogue.ids[17] = -1;
  CHECK_THROWS(InvalidArgument, "ids of at least 0, got -1 at row 17",
               SidTrie::build(catalogue.input()));
  catalogue = random_catalogue(15, {10, 10}, 20);
  catalogue.scores[3] = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS(InvalidArgument, "NaN at row 3", SidTrie::build(catalogue.input()));
}

TEST(a_saved_trie_comes_back) {
  const RandomCatalogue catalogue = random_catalogue(17, {40, 30, 20}, 400);
  const auto built = SidTrie::build(catalogue.input());
  const ScratchFile file;
  built->save(file.path());
  built->save(file.path());
  for (const bool verify : {true, false}) {
    const auto loaded = SidTrie::load(file.path(), verify);
    CHECK_EQUAL(loaded->nbytes(), built->nbytes());
    check_against_maps(*loaded, catalogue);
  }
  CHECK_EQUAL(std::filesystem::file_size(file.path()), built->nbytes());
}

TEST(a_failed_save_leaves_the_old_file_and_nothing_else) {
  const auto trie = SidTrie::build(random_catalogue(19, {10, 10}, 20).input());
  CHECK_THROWS(IoError, "No such file", trie->save("/no/such/folder/trie.bin"));
  const ScratchFile file;
  std::filesystem::create_directories(file.path() + "/taken");
  CHECK_THROWS(IoError, "", trie->save(file.path()));
  const auto folder = std::filesystem::path(file.path()).parent_path();
  CHECK_EQUAL(std::distance(std::filesystem::directory_iterator(folder), {}), 1);
}

TEST(what_a_killed_save_left_is_removed) {
  const auto trie = SidTrie::build(random_catalogue(19, {10, 10}, 20).input());
  const ScratchFile file;
  const std::string left = file.path() + ".123-0.tmp";
  const std::string of_one_at_work = file.path() + ".123-1.tmp";
  const std::string notes = file.path() + ".notes.tmp";
  const std::string numbered = file.path() + ".1";
  for (const std::string& path : {left, notes, numbered}) std::ofstream(path).close();
  const File at_work(of_one_at_work, O_RDWR | O_CREAT);
  CHECK(at_work.try_lock());
  trie->save(file.path());
  CHECK(!std::filesystem::exists(left));
  for (const std::string& path : {of_one_at_work, notes, numbered, file.path()}) {
    CHECK(std::filesystem::exists(path));
  }
}

TEST(files_that_are_no_tries_are_refused) {
  const ScratchFile file;
  CHECK_THROWS(IoError, "No such file", SidTrie::load(file.path(), true));
  CHECK_THROWS(IoError, "Is a directory", SidTrie::load("/tmp", true));
  std::ofstream(file.path()).close();
  CHECK_THROWS(FormatError, "at least 120 bytes, got 0", SidTrie::load(file.path(), false));
  std::ofstream(file.path()) << std::string(4096, 'x');
  CHECK_THROWS(FormatError, "magic", SidTrie::load(file.path(), false));
}

TEST(queries_refuse_what_they_cannot_answer) {
  const auto trie = SidTrie::build(random_catalogue(21, {10, 10}, 20).input());
  const int64_t beyond = trie->view().num_sids();
  int64_t offsets[2];
  int32_t codes[2];
  CHECK_THROWS(InvalidArgument, "or -1, got", trie->item_offsets(&beyond, 1, offsets));
  CHECK_THROWS(InvalidArgument, "or -1, got", trie->codes(&beyond, 1, codes));
  const int64_t node = 0;
  CHECK_THROWS(InvalidArgument, "level: expected 0 to 2, got 3",
               trie->rank_range(3, &node, 1, offsets, offsets + 1));
  const int64_t none = -1;
  trie->item_offsets(&none, 1, offsets);
  CHECK_EQUAL(offsets[1], 0);
  trie->codes(&none, 1, codes);
  CHECK_EQUAL(codes[1], -1);
}
