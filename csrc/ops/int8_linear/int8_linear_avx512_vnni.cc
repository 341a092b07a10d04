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

const MultiplyTile multiply_float32 = &multiply_tile<float, VnniDot, kTileRows>;
const MultiplyTile multiply_bfloat16 = &multiply_tile<BFloat16, VnniDot, kTileRows>;
const MultiplyTile multiply_float16 = &multiply_tile<Float16, VnniDot, kTileRows>;

}  // namespace onesearch::ONESEARCH_TIER

#elif defined(__x86_64__)

namespace onesearch::avx512_vnni {

const MultiplyTile multiply_float32 = nullptr;
const MultiplyTile multiply_bfloat16 = nullptr;
const MultiplyTile multiply_float16 = nullptr;

}  // namespace onesearch::avx512_vnni

#endif
