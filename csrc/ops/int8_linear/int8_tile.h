// For *_simd.cc files: one tile of int8_linear, whatever multiplies the bytes.
#pragma once

#include "cpu/sigmoid.h"
#include "ops/int8_linear/int8_linear_kernels.h"

#if defined(__GNUC__) || defined(__clang__)
#define ONESEARCH_UNROLL _Pragma("GCC unroll 8")
#else
#define ONESEARCH_UNROLL
#endif

namespace onesearch::ONESEARCH_TIER {

// Within 2e-7. Source: Abramowitz and Stegun, 7.1.26.
ONESEARCH_INLINE F32x16 erf(F32x16 x) {
  const U32x16 sign = as_u32(x) & U32x16::broadcast(0x80000000u);
  const F32x16 size = as_f32(as_u32(x) ^ sign);
  const F32x16 one = F32x16::broadcast(1.0f);
  const F32x16 t = one / fma(size, F32x16::broadcast(0.3275911f), one);
  F32x16 p = F32x16::broadcast(1.061405429f);
  p = fma(p, t, F32x16::broadcast(-1.453152027f));
  p = fma(p, t, F32x16::broadcast(1.421413741f));
  p = fma(p, t, F32x16::broadcast(-0.284496736f));
  p = fma(p, t, F32x16::broadcast(0.254829592f));
  const F32x16 above = one - p * t * exp(negate(size * size));
  return as_f32(as_u32(above) ^ sign);
}

ONESEARCH_INLINE F32x16 activate(Activation activation, F32x16 x) {
  switch (activation) {
    case Activation::kRelu:
      return max(F32x16::zero(), x);
    case Activation::kSilu:
      return x * sigmoid(x);
    case Activation::kGelu: {
      const F32x16 half = F32x16::broadcast(0.5f);
      return fma(x * half, erf(x * F32x16::broadcast(0.70710678f)), x * half);
    }
    case Activation::kGeluTanh: {
      const F32x16 cubic =
          fma(x * x, F32x16::broadcast(0.0713548163f), F32x16::broadcast(1.59576912f));
      return x * sigmoid(x * cubic);
    }
    case Activation::kQuickGelu:
      return x * sigmoid(x * F32x16::broadcast(1.702f));
    case Activation::kNone:
      break;
  }
  return x;
}

// What becomes of the sums of one row and block.
template <class T>
ONESEARCH_INLINE void finish(const Int8Tile& tile, int row, int block, U32x16 sums) {
  const int64_t at = block * kBlockOutputs;
  const QuantizedRow& quantized = tile.row[row];
  // The bytes of weights are 128 above what they mean.
  const U32x16 surplus = U32x16::broadcast(static_cast<uint32_t>(quantized.sum) * 128u);
  const F32x16 scale = F32x16::broadcast(quantized.scale) * F32x16::load(tile.weight_scale + at);
  F32x16 y = to_f32(sums - surplus) * scale;
  if (tile.bias != nullptr) y = y + F32x16::load(static_cast<const T*>(tile.bias) + at);
  y = activate(tile.activation, y);
  if (tile.other != nullptr) {
    const T* other = static_cast<const T*>(tile.other) + row * tile.other_stride;
    y = tile.multiply ? y * F32x16::load(other + at) : y + F32x16::load(other + at);
  }
  y.store(static_cast<T*>(tile.out) + row * tile.out_stride + at);
}

// ROWS x BLOCKS sums from one row and block of the tile on. Dot::add(sums, weights, q) adds to
// sixteen outputs the products of their four bytes each with q[0..4). Every loop over sums is
// unrolled: one that is not keeps all of them in memory, at half the speed.
template <class T, class Dot, int ROWS, int BLOCKS>
void multiply_some(const Int8Tile& tile, int first_row, int first_block) {
  U32x16 sums[ROWS][BLOCKS];
  ONESEARCH_UNROLL for (int r = 0; r < ROWS; ++r) {
    ONESEARCH_UNROLL for (int b = 0; b < BLOCKS; ++b) sums[r][b] = U32x16::zero();
  }
  const int64_t block_bytes = tile.in * kBlockOutputs;
  const uint8_t* weight = tile.weight + first_block * block_bytes;
  const int8_t* q = tile.q + first_row * tile.in;
  for (int64_t j = 0; j < tile.in; j += 4, weight += 4 * kBlockOutputs, q += 4) {
    U32x16 weights[BLOCKS];
    ONESEARCH_UNROLL for (int b = 0; b < BLOCKS; ++b) {
      weights[b] = U32x16::load(reinterpret_cast<const uint32_t*>(weight + b * block_bytes));
    }
    ONESEARCH_UNROLL for (int r = 0; r < ROWS; ++r) {
      ONESEARCH_UNROLL for (int b = 0; b < BLOCKS; ++b) {
        sums[r][b] = Dot::add(sums[r][b], weights[b], q + r * tile.in);
      }
    }
  }
  uint32_t stored[ROWS * BLOCKS][kLanes];
  ONESEARCH_UNROLL for (int r = 0; r < ROWS; ++r) {
    ONESEARCH_UNROLL for (int b = 0; b < BLOCKS; ++b) sums[r][b].store(stored[r * BLOCKS + b]);
  }
  for (int i = 0; i < ROWS * BLOCKS; ++i) {
    finish<T>(tile, first_row + i / BLOCKS, first_block + i % BLOCKS, U32x16::load(stored[i]));
  }
}

template <class T, class Dot, int ROWS>
void multiply_rows(const Int8Tile& tile, int first_row) {
  if (tile.blocks == kTileBlocks) {
    multiply_some<T, Dot, ROWS, kTileBlocks>(tile, first_row, 0);
  } else {
    for (int b = 0; b < tile.blocks; ++b) multiply_some<T, Dot, ROWS, 1>(tile, first_row, b);
  }
}

// ROWS: of a tile that is whole, as many as registers hold sums of; the rest go one by one.
template <class T, class Dot, int ROWS>
void multiply_tile(const Int8Tile& tile) {
  if (tile.rows == ROWS) return multiply_rows<T, Dot, ROWS>(tile, 0);
  for (int row = 0; row < tile.rows; ++row) multiply_rows<T, Dot, 1>(tile, row);
}

}  // namespace onesearch::ONESEARCH_TIER
