#include "ops/sid_embedding_bag/term_lists.h"

namespace onesearch {

std::vector<Level> levels_of(const ItemRows& items) {
  std::vector<Level> levels;
  int64_t base = 0;
  for (const int64_t size : items.level_sizes) {
    levels.push_back({static_cast<int64_t>(levels.size()), static_cast<uint32_t>(base), size});
    base += size;
  }
  return levels;
}

}  // namespace onesearch
