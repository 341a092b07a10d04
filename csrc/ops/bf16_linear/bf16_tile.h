// For *_simd.cc files: one tile of bf16_linear, whatever multiplies the pairs.
#pragma once

#include "cpu/finish.h"
#include "ops/bf16_linear/bf16_linear_kernels.h"

namespace onesearch::ONESEARCH_TIER {

// Dot::add(sums, weights, x) adds to each of sixteen sums the two products of its pairs of
// bfloat16, the first in the low half.
template <class Dot, int ROWS>
void multiply_rows(const Bf16Tile& tile, int first_row) {
  constexpr int kBlocks = kPanelOutputs / kLanes;
  F32x16 sums[ROWS][kBlocks];
  ONESEARCH_UNROLL for (int r = 0; r < ROWS; ++r) {
    ONESEARCH_UNROLL for (int b = 0; b < kBlocks; ++b) sums[r][b] = F32x16::zero();
  }
  const uint16_t* weight = tile.weight;
  const uint16_t* x = tile.x + first_row * tile.x_stride;
  for (int64_t j = 0; j < tile.in; j += 2, weight += 2 * kPanelOutputs) {
    U32x16 weights[kBlocks];
    ONESEARCH_UNROLL for (int b = 0; b < kBlocks; ++b) {
      weights[b] = U32x16::load(reinterpret_cast<const uint32_t*>(weight) + b * kLanes);
    }
    ONESEARCH_UNROLL for (int r = 0; r < ROWS; ++r) {
      uint32_t pair;
      memcpy(&pair, x + r * tile.x_stride + j, sizeof pair);
      ONESEARCH_UNROLL for (int b = 0; b < kBlocks; ++b) {
        sums[r][b] = Dot::add(sums[r][b], weights[b], U32x16::broadcast(pair));
      }
    }
  }
  float stored[ROWS * kBlocks][kLanes];
  ONESEARCH_UNROLL for (int r = 0; r < ROWS; ++r) {
    ONESEARCH_UNROLL for (int b = 0; b < kBlocks; ++b) sums[r][b].store(stored[r * kBlocks + b]);
  }
  for (int i = 0; i < ROWS * kBlocks; ++i) {
    finish<BFloat16>(tile.end, first_row + i / kBlocks, i % kBlocks * kLanes,
                     F32x16::load(stored[i]));
  }
}

}  // namespace onesearch::ONESEARCH_TIER
