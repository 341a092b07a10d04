// The two parts of int8_linear, per tier and element type.
#pragma once

#include <cstdint>

#include "cpu/float_kernels.h"
#include "cpu/isa.h"
#include "ops/int8_linear/int8_linear.h"

namespace onesearch {

constexpr int kTileRows = 6;
constexpr int kBlockOutputs = 16;
constexpr int kTileBlocks = 4;

// A row of x in 8 bits.
struct QuantizedRow {
  float scale;  // NaN when the row holds NaN or infinity
  int32_t sum;  // of q
};

using QuantizeRow = QuantizedRow (*)(const void* x, int64_t n, int8_t* q);

// Some rows of the result by some blocks of sixteen outputs.
struct Int8Tile {
  int rows;                   // 1 to kTileRows
  int blocks;                 // 1 to kTileBlocks
  int64_t in;                 // a multiple of 4
  const int8_t* q;            // rows of `in`
  const QuantizedRow* row;    // of each row
  const uint8_t* weight;      // of the first block; blocks follow each other
  const float* weight_scale;  // from the first output on, as are the following
  const void* bias;           // or null
  Activation activation;
  const void* other;     // first row of added or factor, or null
  bool multiply;         // other is a factor
  void* out;             // first row
  int64_t other_stride;  // elements from row to row
  int64_t out_stride;
};

using MultiplyTile = void (*)(const Int8Tile& tile);

struct Int8LinearKernels {
  FloatKernels<QuantizeRow> quantize;
  FloatKernels<MultiplyTile> multiply;
};

ONESEARCH_TIER_TABLE(Int8LinearKernels, int8_linear_kernels)

#if defined(__x86_64__)
// With the instructions that multiply and add bytes; null where the compiler does not know them.
namespace avx512_vnni {
extern const FloatKernels<MultiplyTile> multiply;
}  // namespace avx512_vnni
#endif

}  // namespace onesearch
