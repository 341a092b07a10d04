#include "index/trie_rules.h"

#include <atomic>
#include <vector>

#include "core/error.h"
#include "cpu/thread_pool.h"

namespace onesearch {
namespace {

constexpr int64_t kChecksPerTask = 1 << 14;

void require(bool sound, const std::string& where, const std::string& what,
             const std::string& expected) {
  if (!sound) {
    throw FormatError(complaint(where, what, expected, "others", "restore the file from a copy"));
  }
}

std::string name_of(const char* section, int level) {
  return std::string(section) + "[" + std::to_string(level) + "]";
}

// Whether a check holds for each of n.
template <class Check>
bool all_sound(int64_t n, const Check& check) {
  std::atomic<bool> sound{true};
  parallel_for(n, kChecksPerTask, [&](int64_t begin, int64_t end) {
    bool all = true;
    for (int64_t i = begin; i < end; ++i) all = all && check(static_cast<uint32_t>(i));
    if (!all) sound = false;
  });
  return sound;
}

bool is_sound_offsets(const Partition& partition) {
  const uint32_t* offsets = partition.offsets;
  return offsets[0] == 0 && offsets[partition.num_parts] == partition.num_elements &&
         all_sound(partition.num_parts,
                   [offsets](uint32_t part) { return offsets[part] < offsets[part + 1]; });
}

uint32_t bits_of(const PartitionWord& word) { return static_cast<uint32_t>(popcount(word.begins)); }

// Its count leads to that of the next word, and its hint to the word it should.
bool is_sound_word(const Partition& partition, uint32_t index) {
  const PartitionWord& word = partition.words[index];
  const uint32_t last = partition.num_words() - 1;
  const uint32_t after = index < last ? partition.words[index + 1].before : partition.num_parts + 1;
  if (word.before + bits_of(word) != after || word.hint > last) return false;
  if (index > partition.num_parts / 64) return word.hint == last;
  const PartitionWord& holder = partition.words[word.hint];
  return holder.before <= 64 * index && 64 * index - holder.before < bits_of(holder);
}

// A bit for each part and one to close the last, the first at 0 and none past the end.
bool is_sound_words(const Partition& partition) {
  const uint32_t end = partition.num_elements;
  return partition.words[0].before == 0 && (partition.words[0].begins & 1) == 1 &&
         partition.words[end / 64].begins >> (end % 64) == 1 &&
         all_sound(partition.num_words(),
                   [&](uint32_t index) { return is_sound_word(partition, index); });
}

void verify_partition(const Partition& partition, const std::string& name,
                      const std::string& where) {
  const bool sound = partition.words != nullptr     ? is_sound_words(partition)
                     : partition.offsets != nullptr ? is_sound_offsets(partition)
                                                    : true;
  require(sound, where, name,
          "non-empty ranges that cover 0 to " + std::to_string(partition.num_elements));
}

void verify_tokens(const SidTrieView& view, int level, const std::string& where) {
  const auto ascend = [&view, level](uint32_t node) {
    const NodeRange range = view.children(level, node);
    bool sound = view.token(level, range.end - 1) < view.level_sizes[level];
    for (uint32_t edge = range.begin + 1; edge < range.end; ++edge) {
      sound = sound && view.token(level, edge - 1) < view.token(level, edge);
    }
    return sound;
  };
  require(all_sound(view.num_nodes[level], ascend), where, name_of("child_token", level),
          "ascending tokens below the level size");
}

// What is stored for a level is what its children give.
void verify_item_ranges(const SidTrieView& view, int level, const std::string& where) {
  SidTrieView derived = view;
  for (int other = 0; other < view.num_levels; ++other) derived.item_partition[other] = {};
  const auto agree = [&](uint32_t node) {
    return view.item_range(level, node).begin == derived.item_range(level, node).begin;
  };
  require(all_sound(view.num_nodes[level], agree), where, name_of("items", level),
          "the items below each node");
}

void verify_row_numbers(const SidTrieView& view, const std::string& where) {
  const auto leads_back = [&view](uint32_t row) {
    const uint32_t position = view.position_by_id[row];
    return position < view.num_items && view.item_rows[position] == row;
  };
  require(all_sound(view.num_items, leads_back), where, "item_row and item_by_id",
          "permutations, one the inverse of the other");
}

void verify_rows(const SidTrieView& view, const std::string& where) {
  std::vector<std::atomic<uint64_t>> seen(view.num_items / 64 + 1);
  const auto is_new = [&](uint32_t position) {
    const uint32_t row = view.item_rows[position];
    if (row >= view.num_items) return false;
    const uint64_t bit = uint64_t{1} << (row % 64);
    return (seen[row / 64].fetch_or(bit, std::memory_order_relaxed) & bit) == 0;
  };
  require(all_sound(view.num_items, is_new), where, "item_row", "each row once");
}

void verify_ids(const SidTrieView& view, const std::string& where) {
  const auto id_at = [&view](uint32_t index) {
    const uint32_t position = view.position_by_id[index];
    return position < view.num_items ? view.item_ids[position] : -1;
  };
  const auto ascends = [&](uint32_t index) {
    return id_at(index) > (index == 0 ? -1 : id_at(index - 1));
  };
  require(all_sound(view.num_items, ascends), where, "item_by_id",
          "positions by ascending distinct item id, from 0");
}

}  // namespace

void verify_structure(const SidTrieView& view, const std::string& where) {
  for (int level = 0; level < view.num_levels; ++level) {
    verify_partition(view.child_partition[level], name_of("children", level), where);
    verify_tokens(view, level, where);
  }
  for (int level = 1; level <= view.num_levels; ++level) {
    verify_partition(view.item_partition[level], name_of("items", level), where);
  }
  // Derived from the levels below, so after all of those are known to be sound.
  for (int level = 1; level < view.num_levels; ++level) {
    if (view.item_partition[level].num_parts > 0) verify_item_ranges(view, level, where);
  }
  if (view.item_ids == nullptr) return verify_row_numbers(view, where);
  verify_rows(view, where);
  verify_ids(view, where);
}

}  // namespace onesearch
