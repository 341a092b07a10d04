#include "index/item_codes.h"

#include <algorithm>

namespace onesearch {
namespace {

// Writes the codes of the item's SID; false where it does not live.
bool codes_in(const SidTrieView& trie, const ItemSetView& live, int64_t item_id, int32_t* codes) {
  const int64_t position = trie.position_of(item_id);
  if (position < 0 || !live.has(static_cast<uint32_t>(position))) return false;
  const int last = trie.num_levels;
  uint32_t node = trie.item_partition[last].part_of(static_cast<uint32_t>(position));
  for (int level = last; level > 0; --level) {
    codes[level - 1] = static_cast<int32_t>(trie.token(level - 1, node));
    node = trie.parent(level, node);
  }
  return true;
}

}  // namespace

void item_codes(const CatalogueView& catalogue, const int64_t* item_ids, int64_t n,
                int32_t* codes) {
  const int num_levels = catalogue.base.num_levels;
  for (int64_t i = 0; i < n; ++i, codes += num_levels) {
    if (codes_in(catalogue.base, catalogue.live_base, item_ids[i], codes)) continue;
    const bool inserted = catalogue.has_overlay() &&
                          codes_in(catalogue.overlay, catalogue.live_overlay, item_ids[i], codes);
    if (!inserted) std::fill_n(codes, num_levels, -1);
  }
}

}  // namespace onesearch
