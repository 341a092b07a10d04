#if defined(__AVX512BF16__)

#include "cpu/attention_bf16_product.h"

namespace onesearch::ONESEARCH_TIER {

extern const AttendTile attend_bfloat16 = &attend<BFloat16Product>;

}  // namespace onesearch::ONESEARCH_TIER

#endif
