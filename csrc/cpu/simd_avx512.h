// cpu/simd.h on AVX-512 F, BW, DQ, VL: one register of sixteen lanes, masks in mask registers.
#pragma once

#include "cpu/simd_x86.h"

namespace onesearch::ONESEARCH_TIER {

struct Mask16 {
  __mmask16 mask;

  static ONESEARCH_INLINE Mask16 first(int n) { return from_bits((1u << n) - 1); }
  static ONESEARCH_INLINE Mask16 from_bits(uint32_t bits) { return {static_cast<__mmask16>(bits)}; }
  ONESEARCH_INLINE uint32_t bits() const { return mask; }
};

ONESEARCH_INLINE __m512 widen16(__m256i narrow, const BFloat16*) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(narrow), 16));
}

ONESEARCH_INLINE __m512 widen16(__m256i narrow, const Float16*) { return _mm512_cvtph_ps(narrow); }

ONESEARCH_INLINE __m256i narrow16(__m512 v, const Float16*) {
  return _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

// Not vcvtneps2bf16, which flushes subnormals and is no part of this tier.
ONESEARCH_INLINE __m256i narrow16(__m512 v, const BFloat16*) {
  const __m512i bits = _mm512_castps_si512(v);
  const __m512i high = _mm512_srli_epi32(bits, 16);
  const __m512i odd = _mm512_and_si512(high, _mm512_set1_epi32(1));
  const __m512i half = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
  const __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(bits, half), 16);
  const __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
  return _mm512_cvtepi32_epi16(_mm512_mask_or_epi32(rounded, nan, high, _mm512_set1_epi32(0x40)));
}

struct F32x16 {
  __m512 v;

  static ONESEARCH_INLINE F32x16 broadcast(float x) { return {_mm512_set1_ps(x)}; }
  static ONESEARCH_INLINE F32x16 zero() { return {_mm512_setzero_ps()}; }

  static ONESEARCH_INLINE F32x16 load(const float* from) { return {_mm512_loadu_ps(from)}; }
  template <class T>
  static ONESEARCH_INLINE F32x16 load(const T* from) {
    return {widen16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)), from)};
  }
  static ONESEARCH_INLINE F32x16 load_first(const float* from, int n, float fill) {
    return {_mm512_mask_loadu_ps(_mm512_set1_ps(fill), Mask16::first(n).mask, from)};
  }
  template <class T>
  static ONESEARCH_INLINE F32x16 load_first(const T* from, int n, float fill) {
    const __mmask16 mask = Mask16::first(n).mask;
    const __m512 v = widen16(_mm256_maskz_loadu_epi16(mask, from), from);
    return {_mm512_mask_blend_ps(mask, _mm512_set1_ps(fill), v)};
  }
  ONESEARCH_INLINE void store(float* to) const { _mm512_storeu_ps(to, v); }
  template <class T>
  ONESEARCH_INLINE void store(T* to) const {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), narrow16(v, to));
  }
  ONESEARCH_INLINE void store_first(float* to, int n) const {
    _mm512_mask_storeu_ps(to, Mask16::first(n).mask, v);
  }
  template <class T>
  ONESEARCH_INLINE void store_first(T* to, int n) const {
    _mm256_mask_storeu_epi16(to, Mask16::first(n).mask, narrow16(v, to));
  }
};

struct U32x16 {
  __m512i v;

  static ONESEARCH_INLINE U32x16 broadcast(uint32_t x) {
    return {_mm512_set1_epi32(static_cast<int>(x))};
  }
  static ONESEARCH_INLINE U32x16 zero() { return {_mm512_setzero_si512()}; }
  static ONESEARCH_INLINE U32x16 iota() {
    return {_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)};
  }

  static ONESEARCH_INLINE U32x16 load(const uint32_t* from) { return {_mm512_loadu_si512(from)}; }
  static ONESEARCH_INLINE U32x16 load(const uint16_t* from) {
    return {_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)))};
  }
  static ONESEARCH_INLINE U32x16 load(const uint8_t* from) {
    return {_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)))};
  }
  static ONESEARCH_INLINE U32x16 load_first(const uint32_t* from, int n) {
    return {_mm512_maskz_loadu_epi32(Mask16::first(n).mask, from)};
  }
  static ONESEARCH_INLINE U32x16 load_first(const uint16_t* from, int n) {
    return {_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(Mask16::first(n).mask, from))};
  }
  static ONESEARCH_INLINE U32x16 load_first(const uint8_t* from, int n) {
    return {_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(Mask16::first(n).mask, from))};
  }
  ONESEARCH_INLINE void store(uint32_t* to) const { _mm512_storeu_si512(to, v); }
  ONESEARCH_INLINE void store_first(uint32_t* to, int n) const {
    _mm512_mask_storeu_epi32(to, Mask16::first(n).mask, v);
  }
};

ONESEARCH_INLINE F32x16 operator+(F32x16 a, F32x16 b) { return {_mm512_add_ps(a.v, b.v)}; }
ONESEARCH_INLINE F32x16 operator-(F32x16 a, F32x16 b) { return {_mm512_sub_ps(a.v, b.v)}; }
ONESEARCH_INLINE F32x16 operator*(F32x16 a, F32x16 b) { return {_mm512_mul_ps(a.v, b.v)}; }
ONESEARCH_INLINE F32x16 operator/(F32x16 a, F32x16 b) { return {_mm512_div_ps(a.v, b.v)}; }
ONESEARCH_INLINE F32x16 max(F32x16 a, F32x16 b) { return {_mm512_max_ps(a.v, b.v)}; }
ONESEARCH_INLINE F32x16 min(F32x16 a, F32x16 b) { return {_mm512_min_ps(a.v, b.v)}; }
ONESEARCH_INLINE F32x16 sqrt(F32x16 a) { return {_mm512_sqrt_ps(a.v)}; }
ONESEARCH_INLINE F32x16 fma(F32x16 a, F32x16 b, F32x16 c) {
  return {_mm512_fmadd_ps(a.v, b.v, c.v)};
}

ONESEARCH_INLINE U32x16 operator+(U32x16 a, U32x16 b) { return {_mm512_add_epi32(a.v, b.v)}; }
ONESEARCH_INLINE U32x16 operator-(U32x16 a, U32x16 b) { return {_mm512_sub_epi32(a.v, b.v)}; }
ONESEARCH_INLINE U32x16 operator*(U32x16 a, U32x16 b) { return {_mm512_mullo_epi32(a.v, b.v)}; }
ONESEARCH_INLINE U32x16 operator&(U32x16 a, U32x16 b) { return {_mm512_and_si512(a.v, b.v)}; }
ONESEARCH_INLINE U32x16 operator|(U32x16 a, U32x16 b) { return {_mm512_or_si512(a.v, b.v)}; }
ONESEARCH_INLINE U32x16 operator^(U32x16 a, U32x16 b) { return {_mm512_xor_si512(a.v, b.v)}; }
ONESEARCH_INLINE U32x16 operator<<(U32x16 a, int n) {
  return {_mm512_sll_epi32(a.v, _mm_cvtsi32_si128(n))};
}
ONESEARCH_INLINE U32x16 operator>>(U32x16 a, int n) {
  return {_mm512_srl_epi32(a.v, _mm_cvtsi32_si128(n))};
}

ONESEARCH_INLINE Mask16 operator<(F32x16 a, F32x16 b) {
  return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)};
}
ONESEARCH_INLINE Mask16 operator<=(F32x16 a, F32x16 b) {
  return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LE_OQ)};
}
ONESEARCH_INLINE Mask16 operator>(F32x16 a, F32x16 b) {
  return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_GT_OQ)};
}
ONESEARCH_INLINE Mask16 operator>=(F32x16 a, F32x16 b) {
  return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_GE_OQ)};
}
ONESEARCH_INLINE Mask16 operator==(F32x16 a, F32x16 b) {
  return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ)};
}
ONESEARCH_INLINE Mask16 operator<(U32x16 a, U32x16 b) {
  return {_mm512_cmplt_epu32_mask(a.v, b.v)};
}
ONESEARCH_INLINE Mask16 operator==(U32x16 a, U32x16 b) {
  return {_mm512_cmpeq_epi32_mask(a.v, b.v)};
}

ONESEARCH_INLINE Mask16 operator&(Mask16 a, Mask16 b) { return {_kand_mask16(a.mask, b.mask)}; }
ONESEARCH_INLINE Mask16 operator|(Mask16 a, Mask16 b) { return {_kor_mask16(a.mask, b.mask)}; }
ONESEARCH_INLINE Mask16 operator~(Mask16 a) { return {_knot_mask16(a.mask)}; }

ONESEARCH_INLINE U32x16 as_u32(F32x16 a) { return {_mm512_castps_si512(a.v)}; }
ONESEARCH_INLINE F32x16 as_f32(U32x16 a) { return {_mm512_castsi512_ps(a.v)}; }
ONESEARCH_INLINE F32x16 to_f32(U32x16 a) { return {_mm512_cvtepi32_ps(a.v)}; }

ONESEARCH_INLINE F32x16 select(Mask16 mask, F32x16 a, F32x16 b) {
  return {_mm512_mask_blend_ps(mask.mask, b.v, a.v)};
}
ONESEARCH_INLINE U32x16 select(Mask16 mask, U32x16 a, U32x16 b) {
  return {_mm512_mask_blend_epi32(mask.mask, b.v, a.v)};
}

ONESEARCH_INLINE F32x16 gather(const float* from, U32x16 index, Mask16 mask, float fill) {
  return {_mm512_mask_i32gather_ps(_mm512_set1_ps(fill), mask.mask, index.v, from, 4)};
}

// Two neighbours as one word, the lower one read for element 0 alone, so that nothing past the
// array is touched.
template <class T>
ONESEARCH_INLINE F32x16 gather(const T* from, U32x16 index, Mask16 mask, float fill) {
  const __m512i one = _mm512_set1_epi32(1);
  const __m512i before = _mm512_sub_epi32(_mm512_max_epu32(index.v, one), one);
  const __m512i words =
      _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), mask.mask, before, from, 2);
  const __mmask16 upper = _mm512_test_epi32_mask(index.v, index.v);
  const __m512i chosen = _mm512_mask_srli_epi32(words, upper, words, 16);
  const __m512 values = widen16(_mm512_cvtepi32_epi16(chosen), from);
  return {_mm512_mask_blend_ps(mask.mask, _mm512_set1_ps(fill), values)};
}

// Through a register: compressing straight into memory is many times slower on some processors.
ONESEARCH_INLINE int compress_store(float* to, Mask16 mask, F32x16 a) {
  _mm512_storeu_ps(to, _mm512_maskz_compress_ps(mask.mask, a.v));
  return __builtin_popcount(mask.mask);
}
ONESEARCH_INLINE int compress_store(uint32_t* to, Mask16 mask, U32x16 a) {
  _mm512_storeu_si512(to, _mm512_maskz_compress_epi32(mask.mask, a.v));
  return __builtin_popcount(mask.mask);
}

ONESEARCH_INLINE float reduce_add(F32x16 a) {
  return reduce_add(_mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1)));
}
ONESEARCH_INLINE float reduce_max(F32x16 a) {
  return reduce_max(_mm256_max_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1)));
}

}  // namespace onesearch::ONESEARCH_TIER
