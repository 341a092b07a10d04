// Attention by tiles of queries, over the library's threads.
#pragma once

#include <cstdint>
#include <functional>

#include "core/dtype.h"
#include "cpu/attention_tile.h"

namespace onesearch {

constexpr int64_t kMaxHeadDim = 512;
constexpr int64_t kHeadDimAlignment = 8;

struct AttentionWork {
  DType dtype;
  int64_t head_dim;  // a multiple of kHeadDimAlignment
  int64_t num_keys;  // of a tile, at most
  int64_t num_steps;
  int64_t num_tiles;
};

// Fills in a tile by its number, but for head_dim and num_steps.
using DescribeTile = std::function<void(int64_t number, AttentionTile* tile)>;

void attend_tiles(const AttentionWork& work, const DescribeTile& describe);

// Tiles of so many queries.
inline int64_t tiles_of(int64_t rows) { return (rows + kTileRows - 1) / kTileRows; }

}  // namespace onesearch
