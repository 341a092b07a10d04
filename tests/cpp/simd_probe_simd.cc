#include "cpu/simd.h"

#include "simd_probe.h"

namespace onesearch::ONESEARCH_TIER {
namespace {

template <class T>
void through(const SimdLanes& in, float* loaded, float* first, float* gathered) {
  T narrow[16];
  F32x16::load(in.a).store(narrow);
  F32x16::load(narrow).store(loaded);
  F32x16::load_first(narrow, in.first, -2.0f).store(first);
  const Mask16 mask = Mask16::from_bits(in.mask);
  gather(narrow, U32x16::load(in.index), mask, 5.0f).store(gathered);
}

void floats(const SimdLanes& in, SimdFloats* out) {
  memset(out, 0, sizeof *out);
  const F32x16 a = F32x16::load(in.a);
  const F32x16 b = F32x16::load(in.b);
  const F32x16 c = F32x16::load(in.c);
  const Mask16 mask = Mask16::from_bits(in.mask);
  (a + b).store(out->add);
  (a - b).store(out->sub);
  (a * b).store(out->mul);
  (a / b).store(out->div);
  fma(a, b, c).store(out->fma);
  sqrt(a).store(out->sqrt);
  max(a, b).store(out->max);
  min(a, b).store(out->min);
  negate(a).store(out->negate);
  select(mask, a, b).store(out->selected);
  to_f32(U32x16::load(in.m)).store(out->converted);
  gather(in.a, U32x16::load(in.index), mask, 5.0f).store(out->gathered);
  float packed[16];
  const int kept = compress_store(packed, mask, a);
  F32x16::load_first(packed, kept, 0.0f).store(out->compressed);
  F32x16::load_first(in.a, in.first, 0.0f).store_first(out->first, in.first);
  exp(a).store(out->exp);
  exp_or_zero(a).store(out->exp_or_zero);
  through<BFloat16>(in, out->brain, out->brain_first, out->brain_gathered);
  through<Float16>(in, out->half, out->half_first, out->half_gathered);
  out->reduce_add = reduce_add(a);
  out->reduce_max = reduce_max(a);
}

void compare(const SimdLanes& in, SimdIntegers* out) {
  const F32x16 a = F32x16::load(in.a);
  const F32x16 b = F32x16::load(in.b);
  const U32x16 m = U32x16::load(in.m);
  const U32x16 n = U32x16::load(in.n);
  out->less = (a < b).bits();
  out->less_equal = (a <= b).bits();
  out->greater = (a > b).bits();
  out->greater_equal = (a >= b).bits();
  out->equal = (a == b).bits();
  out->below = (m < n).bits();
  out->same = (m == n).bits();
  const Mask16 mask = Mask16::from_bits(in.mask);
  const Mask16 first = Mask16::first(in.first);
  out->mask_and = (mask & first).bits();
  out->mask_or = (mask | first).bits();
  out->mask_not = (~mask).bits();
  out->first_mask = first.bits();
}

void integers(const SimdLanes& in, SimdIntegers* out) {
  memset(out, 0, sizeof *out);
  const U32x16 m = U32x16::load(in.m);
  const U32x16 n = U32x16::load(in.n);
  const Mask16 mask = Mask16::from_bits(in.mask);
  (m + n).store(out->add);
  (m - n).store(out->sub);
  (m * n).store(out->mul);
  (m & n).store(out->bit_and);
  (m | n).store(out->bit_or);
  (m ^ n).store(out->bit_xor);
  (m << 5).store(out->left);
  (m >> 5).store(out->right);
  select(mask, m, n).store(out->selected);
  as_u32(as_f32(m)).store(out->bits);
  uint32_t packed[16];
  const int kept = compress_store(packed, mask, m);
  U32x16::load_first(packed, kept).store(out->compressed);
  U32x16::load_first(in.m, in.first).store_first(out->first, in.first);
  uint16_t words[16];
  uint8_t bytes[16];
  for (int i = 0; i < 16; ++i) words[i] = static_cast<uint16_t>(in.m[i]);
  for (int i = 0; i < 16; ++i) bytes[i] = static_cast<uint8_t>(in.m[i]);
  U32x16::load(words).store(out->from_u16);
  U32x16::load(bytes).store(out->from_u8);
  U32x16::load_first(words, in.first).store(out->first_u16);
  U32x16::load_first(bytes, in.first).store(out->first_u8);
  out->num_compressed = static_cast<uint32_t>(kept);
  const F32x16 a = F32x16::load(in.a);
  a.store(out->brain);
  a.store(out->half);
  a.store_first(out->brain_first, in.first);
  a.store_first(out->half_first, in.first);
  compare(in, out);
}

}  // namespace

extern const SimdProbe simd_probe{&floats, &integers};

}  // namespace onesearch::ONESEARCH_TIER
