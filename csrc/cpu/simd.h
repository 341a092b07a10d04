// Sixteen logical lanes of float32 and uint32 on every tier of instruction sets: what *_simd.cc
// files are written in.
//
//     F32x16, U32x16   sixteen lanes, by value, in registers where the tier has them
//     Mask16           sixteen truth values; bits() gives them as a number, lane i as bit i
//
// AVX2 (two registers) and AVX-512 (one) give the same bits: fma() is fused on both, reductions go
// in one order, and nothing else rounds differently. The portable tier multiplies, then adds, and
// so agrees within tolerance. All names live in the tier's namespace, and everything is inlined.
//
// Each tier's header defines the same primitives, with n from 0 to 16:
//
//     F32x16   zero(), broadcast(x); load(p), load_first(p, n, fill) from float, BFloat16, Float16;
//              store(p), store_first(p, n) to them, rounding to nearest even;
//              a + b, a - b, a * b, a / b; a < b, a <= b, a > b, a >= b, a == b (false for NaN)
//     U32x16   zero(), broadcast(x), iota(); load(p), load_first(p, n) from uint32_t, uint16_t,
//              uint8_t; store(p), store_first(p, n) to uint32_t;
//              a + b, a - b, a * b, a & b, a | b, a ^ b, a << n, a >> n; a == b, a < b (unsigned)
//     Mask16   first(n), from_bits(bits), bits(); a & b, a | b, ~a
//     fma(a, b, c) = a * b + c    sqrt(a)
//     max(a, b) = a > b ? a : b   min(a, b) = a < b ? a : b   (so b, when either is NaN)
//     select(mask, a, b) = mask ? a : b, of floats and of integers
//     as_u32(floats), as_f32(integers): the same bits; to_f32(integers): their values, as int32
//     gather(p, index, mask, fill): mask ? p[index] : fill, p of float, BFloat16 or Float16; of the
//              narrow ones it may read a neighbour too, so p must hold two elements or more
//     compress_store(p, mask, v): the lanes under the mask, packed; writes all of p[0..16) and
//              returns how many are meant
//     reduce_add(v), reduce_max(v): lane i with i + 8, then i + 4, i + 2, i + 1
//
// A load of the first n lanes touches no other memory; the rest are `fill` (zero for integers).
#pragma once

#include <cstdint>
#include <cstring>

#include "core/dtype.h"

#if !defined(ONESEARCH_TIER)
#error "cpu/simd.h is for files that are compiled once per tier"
#endif

#define ONESEARCH_INLINE inline __attribute__((always_inline))

#if defined(ONESEARCH_TIER_avx512)
#include "cpu/simd_avx512.h"
#elif defined(ONESEARCH_TIER_avx2)
#include "cpu/simd_avx2.h"
#else
#include "cpu/simd_portable.h"
#endif

namespace onesearch::ONESEARCH_TIER {

constexpr int kLanes = 16;

ONESEARCH_INLINE bool any(Mask16 mask) { return mask.bits() != 0; }

ONESEARCH_INLINE F32x16 negate(F32x16 a) {
  return as_f32(as_u32(a) ^ U32x16::broadcast(0x80000000u));
}

// exp(r) for |r| <= ln(2) / 2: the degree 5 polynomial of least relative error, 1 at 0.
ONESEARCH_INLINE F32x16 exp_of_rest(F32x16 r) {
  F32x16 p = F32x16::broadcast(0.0082902722f);
  p = fma(p, r, F32x16::broadcast(0.0418981612f));
  p = fma(p, r, F32x16::broadcast(0.1666763872f));
  p = fma(p, r, F32x16::broadcast(0.4999914765f));
  p = fma(p, r, F32x16::broadcast(0.9999997020f));
  return fma(p, r, F32x16::broadcast(1.0f));
}

// exp(x) within 2 ulp for x in [-87, 88]; no meaning elsewhere. It is 2^k exp(r) with x = k ln(2) +
// r.
ONESEARCH_INLINE F32x16 exp_in_range(F32x16 x) {
  // 1.5 * 2^23: adding it rounds to an integer, kept in the low bits.
  const F32x16 shift = F32x16::broadcast(12582912.0f);
  const F32x16 shifted = fma(x, F32x16::broadcast(1.44269504f), shift);
  const F32x16 k = shifted - shift;
  // ln(2) in two parts, the first with few enough bits that k times it is exact.
  const F32x16 near = fma(k, F32x16::broadcast(-0.693359375f), x);
  const F32x16 r = fma(k, F32x16::broadcast(2.12194440e-4f), near);
  return as_f32(as_u32(exp_of_rest(r)) + (as_u32(shifted) << 23));
}

// exp(x) for x <= 88, and 0 below -87 and for NaN: the terms of a softmax.
ONESEARCH_INLINE F32x16 exp_or_zero(F32x16 x) {
  return select(x >= F32x16::broadcast(-87.0f), exp_in_range(x), F32x16::zero());
}

// exp(x): 0 below -87, exp(88) above 88, NaN for NaN.
ONESEARCH_INLINE F32x16 exp(F32x16 x) {
  const F32x16 result = exp_or_zero(min(F32x16::broadcast(88.0f), x));
  return select(x == x, result, x);
}

}  // namespace onesearch::ONESEARCH_TIER
