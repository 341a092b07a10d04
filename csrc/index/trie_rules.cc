#include "index/trie_rules.h"

#include <vector>

#include "core/error.h"

namespace onesearch {
namespace {

void require(bool sound, const std::string& where, const std::string& what,
             const std::string& expected) {
  if (!sound) {
    throw FormatError(complaint(where, what, expected, "others", "restore the file from a copy"));
  }
}

std::string name_of(const char* section, int level) {
  return std::string(section) + "[" + std::to_string(level) + "]";
}

bool is_sound_offsets(const Partition& partition) {
  const uint32_t* offsets = partition.offsets;
  bool sound = offsets[0] == 0 && offsets[partition.num_parts] == partition.num_elements;
  for (uint32_t part = 0; part < partition.num_parts; ++part) {
    sound = sound && offsets[part] < offsets[part + 1];
  }
  return sound;
}

// A bit for each part and one to close the last, the first at 0, none past the end, and the counts
// and hints that follow from them.
bool is_sound_words(const Partition& partition) {
  const PartitionWord* words = partition.words;
  const uint32_t last = partition.num_elements;
  const uint32_t num_words = partition.num_words();
  uint32_t count = 0;
  uint32_t next_hint = 0;
  bool sound = (words[0].begins & 1) == 1 && words[last / 64].begins >> (last % 64) == 1;
  for (uint32_t word = 0; word < num_words; ++word) {
    sound = sound && words[word].before == count;
    count += static_cast<uint32_t>(popcount(words[word].begins));
    for (; 64 * next_hint < count; ++next_hint) sound = sound && words[next_hint].hint == word;
  }
  for (; next_hint < num_words; ++next_hint) {
    sound = sound && words[next_hint].hint == num_words - 1;
  }
  return sound && count == partition.num_parts + 1;
}

void verify_partition(const Partition& partition, const std::string& name,
                      const std::string& where) {
  const bool sound = partition.offsets != nullptr ? is_sound_offsets(partition)
                     : partition.words != nullptr ? is_sound_words(partition)
                                                  : true;
  require(sound, where, name,
          "non-empty ranges that cover 0 to " + std::to_string(partition.num_elements));
}

void verify_tokens(const SidTrieView& view, int level, const std::string& where) {
  bool sound = true;
  for (uint32_t node = 0; node < view.num_nodes[level]; ++node) {
    const NodeRange range = view.children(level, node);
    for (uint32_t edge = range.begin + 1; edge < range.end; ++edge) {
      sound = sound && view.token(level, edge - 1) < view.token(level, edge);
    }
    sound = sound && view.token(level, range.end - 1) < view.level_sizes[level];
  }
  require(sound, where, name_of("child_token", level), "ascending tokens below the level size");
}

// A stored partition of items is the one that the children give.
void verify_item_ranges(const SidTrieView& view, int level, const std::string& where) {
  SidTrieView derived = view;
  for (int other = 0; other < view.num_levels; ++other) derived.item_partition[other] = {};
  bool sound = true;
  for (uint32_t node = 0; node < view.num_nodes[level]; ++node) {
    sound = sound && view.item_range(level, node).begin == derived.item_range(level, node).begin;
  }
  require(sound, where, name_of("items", level), "the items below each node");
}

// Each row once.
void verify_rows(const SidTrieView& view, const std::string& where) {
  std::vector<bool> seen(view.num_items);
  bool sound = true;
  for (uint32_t position = 0; position < view.num_items; ++position) {
    const int64_t row = view.item_row(position);
    sound = sound && row >= 0 && !seen[static_cast<size_t>(row)];
    if (row >= 0) seen[static_cast<size_t>(row)] = true;
  }
  require(sound, where, "item_row", "each row once");
}

// Ascending distinct ids: each item once.
void verify_ids(const SidTrieView& view, const std::string& where) {
  int64_t last = -1;
  bool sound = true;
  for (uint32_t i = 0; i < view.num_items; ++i) {
    const uint32_t position = view.position_by_id[i];
    const int64_t id = position < view.num_items ? view.item_id(position) : -1;
    sound = sound && id > last;
    last = id;
  }
  require(sound, where, "item_by_id", "positions by ascending distinct item id, from 0");
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
  verify_rows(view, where);
  verify_ids(view, where);
}

}  // namespace onesearch
