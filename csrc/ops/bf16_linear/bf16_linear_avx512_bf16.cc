#include "ops/bf16_linear/bf16_linear_kernels.h"

#if defined(__AVX512BF16__)

#include "ops/bf16_linear/bf16_tile.h"

namespace onesearch::ONESEARCH_TIER {
namespace {

struct PairDot {
  static ONESEARCH_INLINE F32x16 add(F32x16 sums, U32x16 weights, U32x16 x) {
    return {_mm512_dpbf16_ps(sums.v, reinterpret_cast<__m512bh>(weights.v),
                             reinterpret_cast<__m512bh>(x.v))};
  }
};

template <int ROWS>
void multiply_tile(const Bf16Tile& tile) {
  if constexpr (ROWS > 1) {
    if (tile.rows < ROWS) return multiply_tile<ROWS - 1>(tile);
  }
  multiply_rows<PairDot, ROWS>(tile, 0);
}

}  // namespace

const Bf16LinearKernels bf16_linear_kernels{&multiply_tile<kBf16TileRows>};

}  // namespace onesearch::ONESEARCH_TIER

#elif defined(__x86_64__)

namespace onesearch::avx512_bf16 {

const Bf16LinearKernels bf16_linear_kernels{};

}  // namespace onesearch::avx512_bf16

#endif
