// Products of bfloat16 pairs on AVX-512. For *_avx512_bf16.cc and *_amx_bf16.cc only.
#pragma once

#include "cpu/attention_kernel.h"

namespace onesearch::ONESEARCH_TIER {

// Multiply-adds of bfloat16 pairs into float32, twice as many a second as of float32. Weights are
// rounded to bfloat16, their sum is not.
struct BFloat16Product : LaneProducts<BFloat16Product> {
  using Element = BFloat16;
  using Unit = BFloat16;
  using Lanes = __m512bh;
  static constexpr int64_t kElements = 2;

  static ONESEARCH_INLINE Lanes load(const float* from) {
    return reinterpret_cast<Lanes>(_mm512_loadu_si512(from));
  }
  static ONESEARCH_INLINE Lanes broadcast(const BFloat16* word) {
    int32_t pair;
    __builtin_memcpy(&pair, word, sizeof pair);
    return reinterpret_cast<Lanes>(_mm512_set1_epi32(pair));
  }
  static ONESEARCH_INLINE F32x16 add(Lanes a, Lanes b, F32x16 sum) {
    return {_mm512_dpbf16_ps(sum.v, a, b)};
  }

  static void transpose_query(const AttentionTile& tile, const Workspace& work) {
    const float* rows[kTileRows];
    for (int i = 0; i < tile.rows; ++i) rows[i] = static_cast<const float*>(tile.query[i]);
    transpose_rows(rows, tile.head_dim / kElements, tile, work);
  }

  static ONESEARCH_INLINE Operand<BFloat16> keys(const AttentionTile& tile, int64_t first, int64_t,
                                                 const Workspace&) {
    return {row(tile.key, first), tile.key.stride, kElements};
  }

  // Neighbouring rows interleaved; an odd last one with zeros, as its weight's neighbour is zero.
  static ONESEARCH_INLINE Operand<BFloat16> values(const AttentionTile& tile, int64_t first,
                                                   int64_t n, const Workspace& work) {
    const int64_t head_dim = tile.head_dim;
    for (int64_t i = 0; i < n; i += 2) {
      const BFloat16* even = row(tile.value, first + i);
      const BFloat16* odd = row(tile.value, first + i + 1);
      for (int64_t j = 0; j < head_dim; j += kLanes) {
        const __mmask16 some = Mask16::first(head_dim - j < kLanes ? 8 : kLanes).mask;
        const __m512i low = widened(even + j, some);
        const __m512i high = widened(odd + j, i + 1 < n ? some : __mmask16{0});
        const __m512i pairs = _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
        _mm512_mask_storeu_epi32(work.values + i / 2 * head_dim + j, some, pairs);
      }
    }
    return {reinterpret_cast<const BFloat16*>(work.values), kElements, kElements * head_dim};
  }

  static void weigh(float* scores, int64_t n, F32x16 scale, F32x16 minus_shift, F32x16& total) {
    const F32x16 per_octave = F32x16::broadcast(1.44269504f);
    scale = scale * per_octave;
    minus_shift = minus_shift * per_octave;
    for (int64_t key = 0; key < n; key += 2) {
      const float* at = scores + key * kTileRows;
      const F32x16 even = exp2(fma(F32x16::load(at), scale, minus_shift));
      F32x16 odd = F32x16::zero();
      if (key + 1 < n) odd = exp2(fma(F32x16::load(at + kTileRows), scale, minus_shift));
      total = total + (even + odd);
      _mm512_storeu_si512(scores + key / 2 * kTileRows, pairs_of(even, odd));
    }
  }

 private:
  // 2^x within 8e-5 of itself, a 25th of what rounding to bfloat16 takes; 0 at -inf, NaN for NaN.
  static ONESEARCH_INLINE F32x16 exp2(F32x16 x) {
    constexpr int kFloor = 1;
    const F32x16 r = {_mm512_reduce_ps(x.v, kFloor)};
    F32x16 p = F32x16::broadcast(0.0780245235f);
    p = fma(p, r, F32x16::broadcast(0.2260671607f));
    p = fma(p, r, F32x16::broadcast(0.6958335350f));
    p = fma(p, r, F32x16::broadcast(0.9999252195f));
    return {_mm512_scalef_ps(p.v, x.v)};  // times 2^floor(x)
  }
  static ONESEARCH_INLINE const BFloat16* row(const ContextRows& rows, int64_t index) {
    return static_cast<const BFloat16*>(rows.data) + index * rows.stride;
  }
  static ONESEARCH_INLINE __m512i widened(const BFloat16* from, __mmask16 some) {
    return _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(some, from));
  }
  static ONESEARCH_INLINE __m512i pairs_of(F32x16 even, F32x16 odd) {
    const __m512i halves = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(odd.v, even.v));
    const __m512i order =
        _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                         21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return _mm512_permutexvar_epi16(order, halves);
  }
};

}  // namespace onesearch::ONESEARCH_TIER
