// cpu/simd.h on AVX2, FMA and F16C: two registers of eight lanes, masks as lanes of ones.
#pragma once

#include "cpu/simd_x86.h"

namespace onesearch::ONESEARCH_TIER {

// All ones in the lanes below n, for n of any sign.
ONESEARCH_INLINE __m256i lanes_below(int n) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), lane);
}

ONESEARCH_INLINE __m256i lanes_of_bits(uint32_t bits) {
  const __m256i own = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  const __m256i shared = _mm256_set1_epi32(static_cast<int>(bits));
  return _mm256_cmpeq_epi32(_mm256_and_si256(shared, own), own);
}

ONESEARCH_INLINE uint32_t bits_of_lanes(__m256i lanes) {
  return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(lanes)));
}

struct Mask16 {
  __m256i low;
  __m256i high;

  static ONESEARCH_INLINE Mask16 first(int n) { return {lanes_below(n), lanes_below(n - 8)}; }
  static ONESEARCH_INLINE Mask16 from_bits(uint32_t bits) {
    return {lanes_of_bits(bits), lanes_of_bits(bits >> 8)};
  }
  ONESEARCH_INLINE uint32_t bits() const { return bits_of_lanes(low) | bits_of_lanes(high) << 8; }
};

ONESEARCH_INLINE __m128i narrow8(__m256 v, const Float16*) {
  return _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

// Eight words below 65536 as eight halves.
ONESEARCH_INLINE __m128i pack_words(__m256i words) {
  return _mm_packus_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
}

ONESEARCH_INLINE __m128i narrow8(__m256 v, const BFloat16*) {
  const __m256i bits = _mm256_castps_si256(v);
  const __m256i high = _mm256_srli_epi32(bits, 16);
  const __m256i odd = _mm256_and_si256(high, _mm256_set1_epi32(1));
  const __m256i half = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
  const __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(bits, half), 16);
  const __m256i quiet = _mm256_or_si256(high, _mm256_set1_epi32(0x40));
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
  return pack_words(_mm256_blendv_epi8(rounded, quiet, nan));
}

struct F32x16 {
  __m256 low;
  __m256 high;

  static ONESEARCH_INLINE F32x16 broadcast(float x) {
    return {_mm256_set1_ps(x), _mm256_set1_ps(x)};
  }
  static ONESEARCH_INLINE F32x16 zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }

  static ONESEARCH_INLINE F32x16 load(const float* from) {
    return {_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)};
  }
  template <class T>
  static ONESEARCH_INLINE F32x16 load(const T* from) {
    const auto* halves = reinterpret_cast<const __m128i*>(from);
    return {widen(_mm_loadu_si128(halves), from), widen(_mm_loadu_si128(halves + 1), from)};
  }
  static ONESEARCH_INLINE F32x16 load_first(const float* from, int n, float fill) {
    const Mask16 mask = Mask16::first(n);
    const __m256 rest = _mm256_set1_ps(fill);
    return {
        _mm256_blendv_ps(rest, _mm256_maskload_ps(from, mask.low), _mm256_castsi256_ps(mask.low)),
        _mm256_blendv_ps(rest, _mm256_maskload_ps(from + 8, mask.high),
                         _mm256_castsi256_ps(mask.high))};
  }
  template <class T>
  static ONESEARCH_INLINE F32x16 load_first(const T* from, int n, float fill) {
    T whole[16] = {};
    for (int i = 0; i < n; ++i) whole[i] = from[i];
    const F32x16 loaded = load(whole);
    const Mask16 mask = Mask16::first(n);
    const __m256 rest = _mm256_set1_ps(fill);
    return {_mm256_blendv_ps(rest, loaded.low, _mm256_castsi256_ps(mask.low)),
            _mm256_blendv_ps(rest, loaded.high, _mm256_castsi256_ps(mask.high))};
  }
  ONESEARCH_INLINE void store(float* to) const {
    _mm256_storeu_ps(to, low);
    _mm256_storeu_ps(to + 8, high);
  }
  template <class T>
  ONESEARCH_INLINE void store(T* to) const {
    auto* halves = reinterpret_cast<__m128i*>(to);
    _mm_storeu_si128(halves, narrow8(low, to));
    _mm_storeu_si128(halves + 1, narrow8(high, to));
  }
  ONESEARCH_INLINE void store_first(float* to, int n) const {
    const Mask16 mask = Mask16::first(n);
    _mm256_maskstore_ps(to, mask.low, low);
    _mm256_maskstore_ps(to + 8, mask.high, high);
  }
  template <class T>
  ONESEARCH_INLINE void store_first(T* to, int n) const {
    T whole[16];
    store(whole);
    for (int i = 0; i < n; ++i) to[i] = whole[i];
  }
};

struct U32x16 {
  __m256i low;
  __m256i high;

  static ONESEARCH_INLINE U32x16 broadcast(uint32_t x) {
    const __m256i v = _mm256_set1_epi32(static_cast<int>(x));
    return {v, v};
  }
  static ONESEARCH_INLINE U32x16 zero() { return broadcast(0); }
  static ONESEARCH_INLINE U32x16 iota() {
    return {_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7),
            _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15)};
  }

  static ONESEARCH_INLINE U32x16 load(const uint32_t* from) {
    const auto* halves = reinterpret_cast<const __m256i*>(from);
    return {_mm256_loadu_si256(halves), _mm256_loadu_si256(halves + 1)};
  }
  static ONESEARCH_INLINE U32x16 load(const uint16_t* from) {
    const auto* halves = reinterpret_cast<const __m128i*>(from);
    return {_mm256_cvtepu16_epi32(_mm_loadu_si128(halves)),
            _mm256_cvtepu16_epi32(_mm_loadu_si128(halves + 1))};
  }
  static ONESEARCH_INLINE U32x16 load(const uint8_t* from) {
    const __m128i all = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    return {_mm256_cvtepu8_epi32(all), _mm256_cvtepu8_epi32(_mm_srli_si128(all, 8))};
  }
  static ONESEARCH_INLINE U32x16 load_first(const uint32_t* from, int n) {
    const Mask16 mask = Mask16::first(n);
    const auto* words = reinterpret_cast<const int*>(from);
    return {_mm256_maskload_epi32(words, mask.low), _mm256_maskload_epi32(words + 8, mask.high)};
  }
  template <class T>
  static ONESEARCH_INLINE U32x16 load_first(const T* from, int n) {
    T whole[16] = {};
    for (int i = 0; i < n; ++i) whole[i] = from[i];
    return load(whole);
  }
  ONESEARCH_INLINE void store(uint32_t* to) const {
    auto* halves = reinterpret_cast<__m256i*>(to);
    _mm256_storeu_si256(halves, low);
    _mm256_storeu_si256(halves + 1, high);
  }
  ONESEARCH_INLINE void store_first(uint32_t* to, int n) const {
    const Mask16 mask = Mask16::first(n);
    auto* words = reinterpret_cast<int*>(to);
    _mm256_maskstore_epi32(words, mask.low, low);
    _mm256_maskstore_epi32(words + 8, mask.high, high);
  }
};

#define ONESEARCH_PAIRWISE(Vector, name, instruction)                \
  ONESEARCH_INLINE Vector name(Vector a, Vector b) {                 \
    return {instruction(a.low, b.low), instruction(a.high, b.high)}; \
  }
ONESEARCH_PAIRWISE(F32x16, operator+, _mm256_add_ps)
ONESEARCH_PAIRWISE(F32x16, operator-, _mm256_sub_ps)
ONESEARCH_PAIRWISE(F32x16, operator*, _mm256_mul_ps)
ONESEARCH_PAIRWISE(F32x16, operator/, _mm256_div_ps)
ONESEARCH_PAIRWISE(F32x16, max, _mm256_max_ps)
ONESEARCH_PAIRWISE(F32x16, min, _mm256_min_ps)
ONESEARCH_PAIRWISE(U32x16, operator+, _mm256_add_epi32)
ONESEARCH_PAIRWISE(U32x16, operator-, _mm256_sub_epi32)
ONESEARCH_PAIRWISE(U32x16, operator*, _mm256_mullo_epi32)
ONESEARCH_PAIRWISE(U32x16, operator&, _mm256_and_si256)
ONESEARCH_PAIRWISE(U32x16, operator|, _mm256_or_si256)
ONESEARCH_PAIRWISE(U32x16, operator^, _mm256_xor_si256)
ONESEARCH_PAIRWISE(Mask16, operator&, _mm256_and_si256)
ONESEARCH_PAIRWISE(Mask16, operator|, _mm256_or_si256)
#undef ONESEARCH_PAIRWISE

#define ONESEARCH_COMPARISON(name, predicate)                               \
  ONESEARCH_INLINE Mask16 operator name(F32x16 a, F32x16 b) {               \
    return {_mm256_castps_si256(_mm256_cmp_ps(a.low, b.low, predicate)),    \
            _mm256_castps_si256(_mm256_cmp_ps(a.high, b.high, predicate))}; \
  }
ONESEARCH_COMPARISON(<, _CMP_LT_OQ)
ONESEARCH_COMPARISON(<=, _CMP_LE_OQ)
ONESEARCH_COMPARISON(>, _CMP_GT_OQ)
ONESEARCH_COMPARISON(>=, _CMP_GE_OQ)
ONESEARCH_COMPARISON(==, _CMP_EQ_OQ)
#undef ONESEARCH_COMPARISON

ONESEARCH_INLINE Mask16 operator==(U32x16 a, U32x16 b) {
  return {_mm256_cmpeq_epi32(a.low, b.low), _mm256_cmpeq_epi32(a.high, b.high)};
}

// Comparisons of integers are signed here: flipping the top bits orders unsigned ones.
ONESEARCH_INLINE Mask16 operator<(U32x16 a, U32x16 b) {
  const U32x16 top = U32x16::broadcast(0x80000000u);
  a = a ^ top;
  b = b ^ top;
  return {_mm256_cmpgt_epi32(b.low, a.low), _mm256_cmpgt_epi32(b.high, a.high)};
}

ONESEARCH_INLINE Mask16 operator~(Mask16 a) {
  const __m256i ones = _mm256_set1_epi32(-1);
  return {_mm256_xor_si256(a.low, ones), _mm256_xor_si256(a.high, ones)};
}

ONESEARCH_INLINE U32x16 operator<<(U32x16 a, int n) {
  const __m128i distance = _mm_cvtsi32_si128(n);
  return {_mm256_sll_epi32(a.low, distance), _mm256_sll_epi32(a.high, distance)};
}

ONESEARCH_INLINE U32x16 operator>>(U32x16 a, int n) {
  const __m128i distance = _mm_cvtsi32_si128(n);
  return {_mm256_srl_epi32(a.low, distance), _mm256_srl_epi32(a.high, distance)};
}

ONESEARCH_INLINE F32x16 fma(F32x16 a, F32x16 b, F32x16 c) {
  return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}

ONESEARCH_INLINE F32x16 sqrt(F32x16 a) { return {_mm256_sqrt_ps(a.low), _mm256_sqrt_ps(a.high)}; }

ONESEARCH_INLINE U32x16 as_u32(F32x16 a) {
  return {_mm256_castps_si256(a.low), _mm256_castps_si256(a.high)};
}

ONESEARCH_INLINE F32x16 as_f32(U32x16 a) {
  return {_mm256_castsi256_ps(a.low), _mm256_castsi256_ps(a.high)};
}

ONESEARCH_INLINE F32x16 to_f32(U32x16 a) {
  return {_mm256_cvtepi32_ps(a.low), _mm256_cvtepi32_ps(a.high)};
}

ONESEARCH_INLINE U32x16 select(Mask16 mask, U32x16 a, U32x16 b) {
  return {_mm256_blendv_epi8(b.low, a.low, mask.low),
          _mm256_blendv_epi8(b.high, a.high, mask.high)};
}

ONESEARCH_INLINE F32x16 select(Mask16 mask, F32x16 a, F32x16 b) {
  return as_f32(select(mask, as_u32(a), as_u32(b)));
}

ONESEARCH_INLINE F32x16 gather(const float* from, U32x16 index, Mask16 mask, float fill) {
  const __m256 rest = _mm256_set1_ps(fill);
  return {_mm256_mask_i32gather_ps(rest, from, index.low, _mm256_castsi256_ps(mask.low), 4),
          _mm256_mask_i32gather_ps(rest, from, index.high, _mm256_castsi256_ps(mask.high), 4)};
}

// Two neighbours as one word, the lower one read for element 0 alone, so that nothing past the
// array is touched.
template <class T>
ONESEARCH_INLINE __m256 gather8(const T* from, __m256i index, __m256i mask) {
  const __m256i one = _mm256_set1_epi32(1);
  const __m256i before = _mm256_sub_epi32(_mm256_max_epu32(index, one), one);
  const __m256i words = _mm256_mask_i32gather_epi32(
      _mm256_setzero_si256(), reinterpret_cast<const int*>(from), before, mask, 2);
  const __m256i lower = _mm256_cmpeq_epi32(index, _mm256_setzero_si256());
  const __m256i low_half = _mm256_and_si256(words, _mm256_set1_epi32(0xffff));
  const __m256i chosen = _mm256_blendv_epi8(_mm256_srli_epi32(words, 16), low_half, lower);
  return widen(pack_words(chosen), from);
}

template <class T>
ONESEARCH_INLINE F32x16 gather(const T* from, U32x16 index, Mask16 mask, float fill) {
  const F32x16 found{gather8(from, index.low, mask.low), gather8(from, index.high, mask.high)};
  return select(mask, found, F32x16::broadcast(fill));
}

// The lanes under `bits` first: their numbers, a byte each, drawn together by pext.
ONESEARCH_INLINE __m256i compress8(__m256i v, uint32_t bits) {
  const uint64_t bytes = _pdep_u64(bits, 0x0101010101010101u) * 0xff;
  const uint64_t lanes = _pext_u64(0x0706050403020100u, bytes);
  const __m256i order = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<int64_t>(lanes)));
  return _mm256_permutevar8x32_epi32(v, order);
}

ONESEARCH_INLINE int compress_store(uint32_t* to, Mask16 mask, U32x16 a) {
  const uint32_t low = bits_of_lanes(mask.low);
  const uint32_t high = bits_of_lanes(mask.high);
  const int middle = __builtin_popcount(low);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), compress8(a.low, low));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + middle), compress8(a.high, high));
  return middle + __builtin_popcount(high);
}

ONESEARCH_INLINE int compress_store(float* to, Mask16 mask, F32x16 a) {
  const uint32_t low = bits_of_lanes(mask.low);
  const uint32_t high = bits_of_lanes(mask.high);
  const int middle = __builtin_popcount(low);
  _mm256_storeu_ps(to, _mm256_castsi256_ps(compress8(_mm256_castps_si256(a.low), low)));
  _mm256_storeu_ps(to + middle, _mm256_castsi256_ps(compress8(_mm256_castps_si256(a.high), high)));
  return middle + __builtin_popcount(high);
}

ONESEARCH_INLINE float reduce_add(F32x16 a) { return reduce_add(_mm256_add_ps(a.low, a.high)); }
ONESEARCH_INLINE float reduce_max(F32x16 a) { return reduce_max(_mm256_max_ps(a.low, a.high)); }

}  // namespace onesearch::ONESEARCH_TIER
