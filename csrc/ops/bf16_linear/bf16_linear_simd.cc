#include "ops/bf16_linear/bf16_tile.h"

namespace onesearch::ONESEARCH_TIER {
namespace {

struct PlainDot {
  static ONESEARCH_INLINE F32x16 add(F32x16 sums, U32x16 weights, U32x16 x) {
    const U32x16 high = U32x16::broadcast(0xffff0000u);
    sums = fma(as_f32(weights << 16), as_f32(x << 16), sums);
    return fma(as_f32(weights & high), as_f32(x & high), sums);
  }
};

// Row by row: AVX2 holds the sums of no second one.
void multiply_tile(const Bf16Tile& tile) {
  for (int row = 0; row < tile.rows; ++row) multiply_rows<PlainDot, 1>(tile, row);
}

}  // namespace

extern const Bf16LinearKernels bf16_linear_kernels{&multiply_tile};

}  // namespace onesearch::ONESEARCH_TIER
