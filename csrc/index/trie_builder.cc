#include "index/trie_builder.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <string>

#include "core/error.h"
#include "cpu/thread_pool.h"
#include "index/code_keys.h"
#include "index/item_order.h"
#include "index/node_scan.h"
#include "index/partition_writer.h"
#include "index/row_sort.h"

namespace onesearch {
namespace {

constexpr char kWhere[] = "SidTrie.build";
constexpr int kMaxLevels = SidTrieView::kMaxLevels;
// Positions that one thread scans at a time; a multiple of 64, so that none share a word of bits.
constexpr int64_t kSpan = int64_t{1} << 16;

const NodeScanOf<uint64_t>& scan_of(uint64_t) { return node_scan().narrow; }
const NodeScanOf<WideKey>& scan_of(WideKey) { return node_scan().wide; }

// The first row in [0, n) for which `is_bad`, or n.
template <class IsBad>
int64_t first_bad_row(int64_t n, const IsBad& is_bad) {
  std::atomic<int64_t> first{n};
  parallel_for(n, kSpan, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      if (!is_bad(row)) continue;
      int64_t known = first.load();
      while (row < known && !first.compare_exchange_weak(known, row)) {
      }
      return;
    }
  });
  return first;
}

void check_items(const CatalogueCodes& catalogue) {
  const int64_t n = catalogue.codes.shape[0];
  if (const int64_t* ids = catalogue.item_ids; ids != nullptr) {
    const int64_t row = first_bad_row(n, [&](int64_t i) { return ids[i] < 0; });
    if (row < n) {
      throw InvalidArgument(complaint(kWhere, "item_ids", "ids of at least 0",
                                      std::to_string(ids[row]) + " at row " + std::to_string(row)));
    }
  }
  if (const double* scores = catalogue.item_scores; scores != nullptr) {
    const int64_t row = first_bad_row(n, [&](int64_t i) { return std::isnan(scores[i]); });
    if (row < n) {
      throw InvalidArgument(
          complaint(kWhere, "item_scores", "numbers", "NaN at row " + std::to_string(row)));
    }
  }
}

template <class Key>
SortedRows<Key> sort_codes(const CodeKeys& codes, int64_t num_items) {
  std::atomic<bool> sound{true};
  SortedRows<Key> sorted(num_items, codes.layout().bits, [&](int64_t first, int64_t n, Key* keys) {
    if (!codes.read(first, n, keys)) sound = false;
  });
  if (!sound) codes.reject();
  return sorted;
}

// The view of an image under construction is written through: the image is ours and not yet shared.
template <class T>
T* writable(const T* section) {
  return const_cast<T*>(section);
}

// Scans sorted keys twice: to count the nodes of every level, then to write them.
template <class Key>
class LevelBuilder {
 public:
  LevelBuilder(const KeyLayout& layout, const SortedRows<Key>& sorted)
      : num_levels_(layout.num_levels),
        sorted_(sorted),
        first_((static_cast<size_t>(sorted.size()) + kSpan - 1) / kSpan + 1) {
    for (int level = 0; level < num_levels_; ++level) {
      targets_[level].shift = layout.shift[level];
      targets_[level].code_mask = (uint32_t{1} << layout.width[level]) - 1;
    }
    for_each_span([this](int64_t span) {
      scan_of(Key{}).count(keys_of(span), targets_.data(), num_levels_, first_[span + 1].data());
    });
    for (size_t span = 1; span < first_.size(); ++span) {
      for (int level = 0; level < num_levels_; ++level) {
        first_[span][level] += first_[span - 1][level];
      }
    }
  }

  TrieShape shape(const CatalogueCodes& catalogue) const {
    TrieShape shape;
    shape.num_levels = num_levels_;
    shape.num_items = static_cast<uint32_t>(sorted_.size());
    shape.num_nodes[0] = 1;
    for (int level = 0; level < num_levels_; ++level) {
      shape.level_sizes[level] = static_cast<uint32_t>(catalogue.level_sizes[level]);
      shape.num_nodes[level + 1] = first_.back()[level];
    }
    shape.has_item_ids = catalogue.item_ids != nullptr;
    shape.has_item_scores = catalogue.keep_scores;
    return shape;
  }

  void write(const SidTrieView& view) {
    for (int level = 0; level < num_levels_; ++level) aim_at(view, level);
    PartitionWriter(view.child_partition[0]).begin(0, 0);
    for_each_span([this](int64_t span) {
      scan_of(Key{}).write(keys_of(span), targets_.data(), num_levels_, first_[span].data());
    });
    finish(view);
  }

 private:
  KeySpan<Key> keys_of(int64_t span) const {
    return {sorted_.keys(), span * kSpan, std::min((span + 1) * kSpan, sorted_.size())};
  }

  template <class Body>
  void for_each_span(const Body& body) {
    parallel_for(static_cast<int64_t>(first_.size()) - 1, 1, [&](int64_t begin, int64_t end) {
      for (int64_t span = begin; span < end; ++span) body(span);
    });
  }

  void aim_at(const SidTrieView& view, int level) {
    LevelTarget& target = targets_[level];
    target.token_bytes = view.token_bytes(level);
    target.tokens = const_cast<void*>(view.child_token[level]);
    if (level > 0) {
      target.child_offsets = writable(view.child_partition[level].offsets);
      target.child_words = writable(view.child_partition[level].words);
    }
    target.item_offsets = writable(view.item_partition[level + 1].offsets);
    target.item_words = writable(view.item_partition[level + 1].words);
  }

  void finish(const SidTrieView& view) const {
    parallel_for(2 * num_levels_, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        PartitionWriter(i < num_levels_ ? view.child_partition[i]
                                        : view.item_partition[i - num_levels_ + 1])
            .finish();
      }
    });
  }

  int num_levels_;
  const SortedRows<Key>& sorted_;
  std::vector<std::array<uint32_t, kMaxLevels>> first_;  // [span][level] first edge; the last: all
  std::array<LevelTarget, kMaxLevels> targets_{};
};

// Copies the items' columns into the order of positions.
void write_items(const CatalogueCodes& catalogue, const uint32_t* rows, const SidTrieView& view) {
  parallel_for(view.num_items, kSpan, [&](int64_t begin, int64_t end) {
    std::copy(rows + begin, rows + end, writable(view.item_rows) + begin);
    for (int64_t i = begin; view.item_ids != nullptr && i < end; ++i) {
      writable(view.item_ids)[i] = catalogue.item_ids[rows[i]];
    }
    for (int64_t i = begin; view.item_scores != nullptr && i < end; ++i) {
      writable(view.item_scores)[i] = static_cast<float>(catalogue.item_scores[rows[i]]);
    }
  });
}

void index_row_numbers(const SidTrieView& view) {
  parallel_for(view.num_items, kSpan, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      writable(view.position_by_id)[view.item_rows[i]] = static_cast<uint32_t>(i);
    }
  });
}

[[noreturn]] void reject_duplicate(const SidTrieView& view, uint32_t position, uint32_t other) {
  const auto [first, second] = std::minmax(view.item_rows[position], view.item_rows[other]);
  throw InvalidArgument(complaint(kWhere, "item_ids", "distinct ids",
                                  std::to_string(view.item_ids[position]) + " at rows " +
                                      std::to_string(first) + " and " + std::to_string(second)));
}

// Bits that ids take, at least 1.
int bits_of_ids(const int64_t* ids, int64_t n) {
  std::atomic<uint64_t> used{1};
  parallel_for(n, kSpan, [&](int64_t begin, int64_t end) {
    uint64_t part = 0;
    for (int64_t i = begin; i < end; ++i) part |= static_cast<uint64_t>(ids[i]);
    used |= part;
  });
  int bits = 1;
  while (used >> bits != 0) ++bits;
  return bits;
}

void index_ids(const SidTrieView& view) {
  const int64_t* ids = view.item_ids;
  const int64_t n = view.num_items;
  const SortedRows<uint64_t> by_id(n, bits_of_ids(ids, n),
                                   [ids](int64_t first, int64_t count, uint64_t* keys) {
                                     std::copy_n(ids + first, count, keys);
                                   });
  const uint64_t* keys = by_id.keys();
  const int64_t repeated = first_bad_row(n, [&](int64_t i) { return keys[i] == keys[i - 1]; });
  if (repeated < n) reject_duplicate(view, by_id.rows()[repeated - 1], by_id.rows()[repeated]);
  parallel_for(n, kSpan, [&](int64_t begin, int64_t end) {
    std::copy(by_id.rows() + begin, by_id.rows() + end, writable(view.position_by_id) + begin);
  });
}

// The image but for position_by_id and checksums.
template <class Key>
Bytes write_levels(const CatalogueCodes& catalogue, const CodeKeys& codes) {
  const SortedRows<Key> sorted = sort_codes<Key>(codes, catalogue.codes.shape[0]);
  order_items(sorted, catalogue.item_ids, catalogue.item_scores);
  LevelBuilder<Key> levels(codes.layout(), sorted);
  Bytes image = make_image(levels.shape(catalogue));
  const SidTrieView view = unsealed_view(image);
  levels.write(view);
  write_items(catalogue, sorted.rows(), view);
  return image;
}

}  // namespace

Bytes build_image(const CatalogueCodes& catalogue) {
  const CodeKeys codes(kWhere, catalogue.codes, catalogue.level_sizes);
  check_items(catalogue);
  Bytes image = codes.layout().is_wide() ? write_levels<WideKey>(catalogue, codes)
                                         : write_levels<uint64_t>(catalogue, codes);
  const SidTrieView view = unsealed_view(image);
  if (catalogue.item_ids == nullptr) {
    index_row_numbers(view);
  } else {
    index_ids(view);
  }
  seal_image(image);
  return image;
}

}  // namespace onesearch
