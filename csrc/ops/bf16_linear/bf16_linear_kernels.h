// The part of bf16_linear that multiplies.
#pragma once

#include <cstdint>

#include "cpu/isa.h"
#include "cpu/tile_end.h"

namespace onesearch {

// Sums of six rows by 64 outputs fill 24 of 32 registers.
constexpr int kBf16TileRows = 6;
constexpr int kPanelOutputs = 64;

// Some rows of the result by one panel of outputs.
struct Bf16Tile {
  int rows;                // 1 to kBf16TileRows
  int64_t in;              // a multiple of 2
  const uint16_t* x;       // first row
  int64_t x_stride;        // elements from row to row
  const uint16_t* weight;  // of the panel
  TileEnd end;
};

using MultiplyBf16Tile = void (*)(const Bf16Tile& tile);

struct Bf16LinearKernels {
  MultiplyBf16Tile multiply;
};

ONESEARCH_TIER_TABLE(Bf16LinearKernels, bf16_linear_kernels)

#if defined(__x86_64__)
// With the instructions that multiply and add pairs; null where the compiler does not know them.
namespace avx512_bf16 {
extern const Bf16LinearKernels bf16_linear_kernels;
}  // namespace avx512_bf16
#endif

}  // namespace onesearch
