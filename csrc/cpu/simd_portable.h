// cpu/simd.h in plain loops, which compilers vectorise as far as they can.
#pragma once

#include <cmath>

namespace onesearch::ONESEARCH_TIER {

struct Mask16 {
  uint32_t lane[16];  // 0 or all ones

  static ONESEARCH_INLINE Mask16 first(int n) {
    Mask16 mask;
    for (int i = 0; i < 16; ++i) mask.lane[i] = i < n ? ~0u : 0u;
    return mask;
  }
  static ONESEARCH_INLINE Mask16 from_bits(uint32_t bits) {
    Mask16 mask;
    for (int i = 0; i < 16; ++i) mask.lane[i] = 0u - (bits >> i & 1u);
    return mask;
  }
  ONESEARCH_INLINE uint32_t bits() const {
    uint32_t bits = 0;
    for (int i = 0; i < 16; ++i) bits |= lane[i] & (1u << i);
    return bits;
  }
};

struct F32x16 {
  float lane[16];

  static ONESEARCH_INLINE F32x16 broadcast(float x) {
    F32x16 v;
    for (float& lane : v.lane) lane = x;
    return v;
  }
  static ONESEARCH_INLINE F32x16 zero() { return broadcast(0.0f); }

  template <class T>
  static ONESEARCH_INLINE F32x16 load(const T* from) {
    F32x16 v;
    for (int i = 0; i < 16; ++i) v.lane[i] = to_float(from[i]);
    return v;
  }
  template <class T>
  static ONESEARCH_INLINE F32x16 load_first(const T* from, int n, float fill) {
    F32x16 v;
    for (int i = 0; i < 16; ++i) v.lane[i] = i < n ? to_float(from[i]) : fill;
    return v;
  }
  template <class T>
  ONESEARCH_INLINE void store(T* to) const {
    store_first(to, 16);
  }
  template <class T>
  ONESEARCH_INLINE void store_first(T* to, int n) const {
    for (int i = 0; i < n; ++i) from_float(lane[i], to + i);
  }
};

struct U32x16 {
  uint32_t lane[16];

  static ONESEARCH_INLINE U32x16 broadcast(uint32_t x) {
    U32x16 v;
    for (uint32_t& lane : v.lane) lane = x;
    return v;
  }
  static ONESEARCH_INLINE U32x16 zero() { return broadcast(0); }
  static ONESEARCH_INLINE U32x16 iota() {
    U32x16 v;
    for (uint32_t i = 0; i < 16; ++i) v.lane[i] = i;
    return v;
  }
  template <class T>
  static ONESEARCH_INLINE U32x16 load(const T* from) {
    return load_first(from, 16);
  }
  template <class T>
  static ONESEARCH_INLINE U32x16 load_first(const T* from, int n) {
    U32x16 v = zero();
    for (int i = 0; i < n; ++i) v.lane[i] = from[i];
    return v;
  }
  ONESEARCH_INLINE void store(uint32_t* to) const { memcpy(to, lane, sizeof lane); }
  ONESEARCH_INLINE void store_first(uint32_t* to, int n) const {
    for (int i = 0; i < n; ++i) to[i] = lane[i];
  }
};

#define ONESEARCH_LANES(Vector, name, expression)        \
  ONESEARCH_INLINE Vector name(Vector a, Vector b) {     \
    Vector v;                                            \
    for (int i = 0; i < 16; ++i) v.lane[i] = expression; \
    return v;                                            \
  }
ONESEARCH_LANES(F32x16, operator+, a.lane[i] + b.lane[i])
ONESEARCH_LANES(F32x16, operator-, a.lane[i] - b.lane[i])
ONESEARCH_LANES(F32x16, operator*, a.lane[i] * b.lane[i])
ONESEARCH_LANES(F32x16, operator/, a.lane[i] / b.lane[i])
ONESEARCH_LANES(U32x16, operator+, a.lane[i] + b.lane[i])
ONESEARCH_LANES(U32x16, operator-, a.lane[i] - b.lane[i])
ONESEARCH_LANES(U32x16, operator*, a.lane[i] * b.lane[i])
ONESEARCH_LANES(U32x16, operator&, a.lane[i] & b.lane[i])
ONESEARCH_LANES(U32x16, operator|, a.lane[i] | b.lane[i])
ONESEARCH_LANES(U32x16, operator^, a.lane[i] ^ b.lane[i])
ONESEARCH_LANES(Mask16, operator&, a.lane[i] & b.lane[i])
ONESEARCH_LANES(Mask16, operator|, a.lane[i] | b.lane[i])
#undef ONESEARCH_LANES

#define ONESEARCH_COMPARISON(Vector, name)                                           \
  ONESEARCH_INLINE Mask16 operator name(Vector a, Vector b) {                        \
    Mask16 mask;                                                                     \
    for (int i = 0; i < 16; ++i) mask.lane[i] = a.lane[i] name b.lane[i] ? ~0u : 0u; \
    return mask;                                                                     \
  }
ONESEARCH_COMPARISON(F32x16, <)
ONESEARCH_COMPARISON(F32x16, <=)
ONESEARCH_COMPARISON(F32x16, >)
ONESEARCH_COMPARISON(F32x16, >=)
ONESEARCH_COMPARISON(F32x16, ==)
ONESEARCH_COMPARISON(U32x16, <)
ONESEARCH_COMPARISON(U32x16, ==)
#undef ONESEARCH_COMPARISON

ONESEARCH_INLINE Mask16 operator~(Mask16 a) {
  for (uint32_t& lane : a.lane) lane = ~lane;
  return a;
}

ONESEARCH_INLINE U32x16 operator<<(U32x16 a, int n) {
  for (uint32_t& lane : a.lane) lane <<= n;
  return a;
}

ONESEARCH_INLINE U32x16 operator>>(U32x16 a, int n) {
  for (uint32_t& lane : a.lane) lane >>= n;
  return a;
}

ONESEARCH_INLINE F32x16 fma(F32x16 a, F32x16 b, F32x16 c) { return a * b + c; }

ONESEARCH_INLINE F32x16 sqrt(F32x16 a) {
  for (float& lane : a.lane) lane = __builtin_sqrtf(lane);
  return a;
}

ONESEARCH_INLINE U32x16 as_u32(F32x16 a) {
  U32x16 v;
  memcpy(v.lane, a.lane, sizeof v.lane);
  return v;
}

ONESEARCH_INLINE F32x16 as_f32(U32x16 a) {
  F32x16 v;
  memcpy(v.lane, a.lane, sizeof v.lane);
  return v;
}

ONESEARCH_INLINE F32x16 to_f32(U32x16 a) {
  F32x16 v;
  for (int i = 0; i < 16; ++i) v.lane[i] = static_cast<float>(static_cast<int32_t>(a.lane[i]));
  return v;
}

ONESEARCH_INLINE U32x16 select(Mask16 mask, U32x16 a, U32x16 b) {
  for (int i = 0; i < 16; ++i) {
    a.lane[i] = (a.lane[i] & mask.lane[i]) | (b.lane[i] & ~mask.lane[i]);
  }
  return a;
}

ONESEARCH_INLINE F32x16 select(Mask16 mask, F32x16 a, F32x16 b) {
  return as_f32(select(mask, as_u32(a), as_u32(b)));
}

// By masks: GCC makes branches of a conditional expression where several follow one another.
ONESEARCH_INLINE F32x16 max(F32x16 a, F32x16 b) { return select(a > b, a, b); }
ONESEARCH_INLINE F32x16 min(F32x16 a, F32x16 b) { return select(a < b, a, b); }

template <class T>
ONESEARCH_INLINE F32x16 gather(const T* from, U32x16 index, Mask16 mask, float fill) {
  F32x16 v;
  for (int i = 0; i < 16; ++i) v.lane[i] = mask.lane[i] ? to_float(from[index.lane[i]]) : fill;
  return v;
}

template <class T, class Vector>
ONESEARCH_INLINE int compress_store(T* to, Mask16 mask, Vector v) {
  int count = 0;
  for (int i = 0; i < 16; ++i) {
    to[count] = v.lane[i];
    count += static_cast<int>(mask.lane[i] & 1u);
  }
  return count;
}

ONESEARCH_INLINE float reduce_add(F32x16 v) {
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) v.lane[i] += v.lane[i + half];
  }
  return v.lane[0];
}

ONESEARCH_INLINE float reduce_max(F32x16 v) {
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) {
      v.lane[i] = v.lane[i] > v.lane[i + half] ? v.lane[i] : v.lane[i + half];
    }
  }
  return v.lane[0];
}

}  // namespace onesearch::ONESEARCH_TIER
