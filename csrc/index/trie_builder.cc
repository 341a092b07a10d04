#include "index/trie_builder.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <string>

#include "core/error.h"
#include "cpu/thread_pool.h"
#include "index/code_keys.h"
#include "index/first_row.h"
#include "index/item_order.h"
#include "index/row_sort.h"
#include "index/trie_writer.h"

namespace onesearch {
namespace {

constexpr char kWhere[] = "SidTrie.build";

// The image but for position_by_id and checksums.
template <class Key>
Bytes build_levels(const CatalogueCodes& catalogue, const KeyLayout& layout,
                   const CodeKeys& codes) {
  RowTable<Key> sorted(catalogue.codes.shape[0]);
  std::atomic<bool> sound{true};
  const auto read_keys = [&](int64_t first, int64_t n, Key* keys) {
    if (!codes.read(first, n, keys)) sound = false;
  };
  sort_rows<Key>(layout.bits, read_keys, &sorted);
  if (!sound) codes.reject(0);
  order_items({catalogue.item_ids, catalogue.item_scores}, &sorted);
  ItemValues items;
  items.ids = catalogue.item_ids;
  items.scores = catalogue.keep_scores ? catalogue.item_scores : nullptr;
  return write_image(layout, sorted, items, &Bytes::allocate);
}

// Bits that ids take, at least 1.
int bits_of_ids(const int64_t* ids, int64_t n) {
  constexpr int64_t kGrain = int64_t{1} << 16;
  std::atomic<uint64_t> used{1};
  parallel_for(n, kGrain, [&](int64_t begin, int64_t end) {
    uint64_t part = 0;
    for (int64_t i = begin; i < end; ++i) part |= static_cast<uint64_t>(ids[i]);
    used |= part;
  });
  return 64 - __builtin_clzll(used);
}

void index_ids(const SidTrieView& view) {
  const int64_t* ids = view.item_ids;
  RowTable<uint64_t> by_id(view.num_items);
  const auto read_keys = [ids](int64_t first, int64_t n, uint64_t* keys) {
    std::copy_n(ids + first, n, keys);
  };
  sort_rows<uint64_t>(bits_of_ids(ids, view.num_items), read_keys, &by_id);
  write_id_order(kWhere, by_id, view);
}

}  // namespace

void check_items(const char* where, const CatalogueCodes& catalogue, int64_t first_row) {
  const int64_t n = catalogue.codes.shape[0];
  if (const int64_t* ids = catalogue.item_ids; ids != nullptr) {
    const int64_t row = first_row_where(n, [ids](int64_t i) { return ids[i] < 0; });
    if (row < n) {
      throw InvalidArgument(
          complaint(where, "item_ids", "ids of at least 0",
                    std::to_string(ids[row]) + " at row " + std::to_string(first_row + row)));
    }
  }
  if (const double* scores = catalogue.item_scores; scores != nullptr) {
    const int64_t row = first_row_where(n, [scores](int64_t i) { return std::isnan(scores[i]); });
    if (row < n) {
      throw InvalidArgument(complaint(where, "item_scores", "numbers",
                                      "NaN at row " + std::to_string(first_row + row)));
    }
  }
}

Bytes build_image(const CatalogueCodes& catalogue) {
  const KeyLayout layout(kWhere, catalogue.level_sizes);
  const CodeKeys codes(kWhere, catalogue.codes, layout);
  check_num_items(kWhere, catalogue.codes.shape[0]);
  check_items(kWhere, catalogue, 0);
  Bytes image = layout.is_wide() ? build_levels<WideKey>(catalogue, layout, codes)
                                 : build_levels<uint64_t>(catalogue, layout, codes);
  const SidTrieView view = unsealed_view(image);
  if (catalogue.item_ids == nullptr) {
    write_row_order(view, view.num_items);
  } else {
    index_ids(view);
  }
  seal_image(image);
  return image;
}

}  // namespace onesearch
