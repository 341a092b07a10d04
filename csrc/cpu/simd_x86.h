// What the AVX2 and AVX-512 tiers share: the last eight lanes of a reduction, and narrow floats.
#pragma once

#include <immintrin.h>

namespace onesearch::ONESEARCH_TIER {

ONESEARCH_INLINE __m256 widen(__m128i eight, const BFloat16*) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(eight), 16));
}

ONESEARCH_INLINE __m256 widen(__m128i eight, const Float16*) { return _mm256_cvtph_ps(eight); }

ONESEARCH_INLINE float reduce_add(__m256 v) {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

ONESEARCH_INLINE float reduce_max(__m256 v) {
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

}  // namespace onesearch::ONESEARCH_TIER
