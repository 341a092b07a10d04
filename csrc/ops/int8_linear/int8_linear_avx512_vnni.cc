#include "ops/int8_linear/int8_linear_kernels.h"

#if defined(__AVX512VNNI__)

#include "ops/int8_linear/int8_tile.h"

namespace onesearch::ONESEARCH_TIER {
namespace {

struct VnniDot {
  static ONESEARCH_INLINE U32x16 add(U32x16 sums, U32x16 weights, const int8_t* q) {
    int32_t four;
    memcpy(&four, q, sizeof four);
    return {_mm512_dpbusd_epi32(sums.v, weights.v, _mm512_set1_epi32(four))};
  }
};

}  // namespace

const FloatKernels<MultiplyTile> multiply{&multiply_tile<float, VnniDot, kTileRows>,
                                          &multiply_tile<BFloat16, VnniDot, kTileRows>,
                                          &multiply_tile<Float16, VnniDot, kTileRows>};

}  // namespace onesearch::ONESEARCH_TIER

#elif defined(__x86_64__)

namespace onesearch::avx512_vnni {

const FloatKernels<MultiplyTile> multiply{};

}  // namespace onesearch::avx512_vnni

#endif
