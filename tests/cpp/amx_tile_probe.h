// What cpu/amx_tile.h offers, once emulated and once by the processor's own instructions.
#pragma once

#include <cstdint>

namespace onesearch {

// The 64 bytes that LDTILECFG reads: shapes that are not allowed too.
struct TileConfig {
  unsigned char bytes[64] = {1};

  void set(int tile, int rows, int row_bytes) {
    bytes[16 + 2 * tile] = static_cast<unsigned char>(row_bytes);
    bytes[16 + 2 * tile + 1] = static_cast<unsigned char>(row_bytes >> 8);
    bytes[48 + tile] = static_cast<unsigned char>(rows);
  }
};

struct TileProbe {
  // Nothing but the configuration, which is released again.
  void (*configure)(const TileConfig& config);
  // Tile 0 loaded and stored, rows `stride` bytes apart.
  void (*copy)(const TileConfig& config, const void* from, void* to, int64_t stride);
  // Tile 0 zeroed and stored.
  void (*zero)(const TileConfig& config, void* to, int64_t stride);
  // sum += left right, in tiles 0, 1 and 2.
  void (*multiply_add)(const TileConfig& config, void* sum, const void* left, const void* right,
                       int64_t stride);
  // The same of tiles that are zeroed, not loaded.
  void (*multiply_zeros)(const TileConfig& config);
};

namespace emulated_tiles {
extern const TileProbe tile_probe;
}
namespace processor_tiles {
extern const TileProbe tile_probe;
}

}  // namespace onesearch
