#include "index/trie_writer.h"

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "core/error.h"
#include "cpu/thread_pool.h"
#include "index/first_row.h"
#include "index/node_scan.h"
#include "index/partition_writer.h"

namespace onesearch {
namespace {

constexpr int kMaxLevels = SidTrieView::kMaxLevels;
// Positions that one thread scans at a time; a multiple of 64, so that none share a word of bits.
constexpr int64_t kSpan = int64_t{1} << 16;

const NodeScanOf<uint64_t>& scan_of(uint64_t) { return node_scan().narrow; }
const NodeScanOf<WideKey>& scan_of(WideKey) { return node_scan().wide; }

// The view of an image under construction is written through: the image is ours and not yet shared.
template <class T>
T* writable(const T* section) {
  return const_cast<T*>(section);
}

// Scans sorted keys twice: to count the nodes of every level, then to write them.
template <class Key>
class LevelBuilder {
 public:
  LevelBuilder(const KeyLayout& layout, const RowTable<Key>& sorted)
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

  // Sets num_nodes of every level.
  void count(TrieShape* shape) const {
    shape->num_nodes[0] = 1;
    for (int level = 0; level < num_levels_; ++level) {
      shape->num_nodes[level + 1] = first_.back()[level];
    }
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
  const RowTable<Key>& sorted_;
  std::vector<std::array<uint32_t, kMaxLevels>> first_;  // [span][level] first edge; the last: all
  std::array<LevelTarget, kMaxLevels> targets_{};
};

void write_items(const ItemValues& items, const uint32_t* rows, const SidTrieView& view) {
  parallel_for(view.num_items, kSpan, [&](int64_t begin, int64_t end) {
    const auto source = [&](int64_t i) { return items.by_position ? i : int64_t{rows[i]}; };
    std::copy(rows + begin, rows + end, writable(view.item_rows) + begin);
    for (int64_t i = begin; items.ids != nullptr && i < end; ++i) {
      writable(view.item_ids)[i] = items.ids[source(i)];
    }
    for (int64_t i = begin; items.scores != nullptr && i < end; ++i) {
      writable(view.item_scores)[i] = static_cast<float>(items.scores[source(i)]);
    }
  });
}

[[noreturn]] void reject_duplicate(const char* where, const SidTrieView& view, uint32_t position,
                                   uint32_t other) {
  const auto [first, second] = std::minmax(view.item_rows[position], view.item_rows[other]);
  throw InvalidArgument(complaint(where, "item_ids", "distinct ids",
                                  std::to_string(view.item_ids[position]) + " at rows " +
                                      std::to_string(first) + " and " + std::to_string(second)));
}

}  // namespace

template <class Key>
Bytes write_image(const KeyLayout& layout, const RowTable<Key>& sorted, const ItemValues& items,
                  const MakeBytes& make_bytes) {
  LevelBuilder<Key> levels(layout, sorted);
  TrieShape shape;
  shape.num_levels = layout.num_levels;
  std::copy(layout.level_size.begin(), layout.level_size.end(), shape.level_sizes);
  levels.count(&shape);
  shape.num_items = static_cast<uint32_t>(sorted.size());
  shape.has_item_ids = items.ids != nullptr;
  shape.has_item_scores = items.scores != nullptr;
  Bytes image = make_image(shape, make_bytes);
  const SidTrieView view = unsealed_view(image);
  levels.write(view);
  write_items(items, sorted.rows(), view);
  return image;
}

template Bytes write_image(const KeyLayout&, const RowTable<uint64_t>&, const ItemValues&,
                           const MakeBytes&);
template Bytes write_image(const KeyLayout&, const RowTable<WideKey>&, const ItemValues&,
                           const MakeBytes&);

void write_row_order(const SidTrieView& view, int64_t window) {
  for (int64_t first = 0; first < view.num_items; first += window) {
    parallel_for(view.num_items, kSpan, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t row = view.item_rows[i];
        if (row - first < window && row >= first) {
          writable(view.position_by_id)[row] = static_cast<uint32_t>(i);
        }
      }
    });
  }
}

void write_id_order(const char* where, const RowTable<uint64_t>& by_id, const SidTrieView& view) {
  const uint64_t* keys = by_id.keys();
  const uint32_t* positions = by_id.rows();
  const int64_t repeated =
      first_row_where(by_id.size(), [keys](int64_t i) { return keys[i] == keys[i - 1]; });
  if (repeated < by_id.size()) {
    reject_duplicate(where, view, positions[repeated - 1], positions[repeated]);
  }
  parallel_for(by_id.size(), kSpan, [&](int64_t begin, int64_t end) {
    std::copy(positions + begin, positions + end, writable(view.position_by_id) + begin);
  });
}

}  // namespace onesearch
