#include "ops/int8_linear/int8_tile.h"

namespace onesearch::ONESEARCH_TIER {
namespace {

constexpr float kInfinity = __builtin_inff();

struct PlainDot {
  static ONESEARCH_INLINE U32x16 add(U32x16 sums, U32x16 weights, const int8_t* q) {
    const U32x16 byte = U32x16::broadcast(0xffu);
    const auto times = [&](U32x16 bytes, int8_t factor) {
      return (bytes & byte) *
             U32x16::broadcast(static_cast<uint32_t>(static_cast<int32_t>(factor)));
    };
    const U32x16 low = times(weights, q[0]) + times(weights >> 8, q[1]);
    const U32x16 high = times(weights >> 16, q[2]) + times(weights >> 24, q[3]);
    return sums + (low + high);
  }
};

template <class T>
float largest(const T* x, int64_t n) {
  const U32x16 magnitude = U32x16::broadcast(0x7fffffffu);
  const F32x16 infinity = F32x16::broadcast(kInfinity);
  F32x16 most = F32x16::zero();
  Mask16 sound = Mask16::first(kLanes);  // below +inf, which NaN is not
  for (int64_t at = 0; at < n; at += kLanes) {
    const int count = static_cast<int>(n - at < kLanes ? n - at : kLanes);
    const F32x16 size = as_f32(as_u32(F32x16::load_first(x + at, count, 0.0f)) & magnitude);
    most = max(size, most);
    sound = sound & (size < infinity);
  }
  return any(~sound) ? kInfinity : reduce_max(most);
}

// The low bytes of the first `count` lanes.
ONESEARCH_INLINE void store_bytes(U32x16 v, int8_t* to, int count) {
  uint32_t words[kLanes];
  int8_t bytes[kLanes];
  v.store(words);
  for (int i = 0; i < kLanes; ++i) bytes[i] = static_cast<int8_t>(words[i]);
  memcpy(to, bytes, static_cast<size_t>(count));
}

template <class T>
QuantizedRow quantize_row(const void* x, int64_t n, int8_t* q) {
  const T* from = static_cast<const T*>(x);
  const float most = largest(from, n);
  const bool sound = most < kInfinity;
  // Of a row of zeros, or of subnormals, all is rounded to zero.
  const float inverse = sound && most > 1e-35f ? 127.0f / most : 0.0f;
  // 1.5 * 2^23: adding it rounds to an integer, kept in the low bits.
  const F32x16 shift = F32x16::broadcast(12582912.0f);
  U32x16 sums = U32x16::zero();
  for (int64_t at = 0; at < n; at += kLanes) {
    const int count = static_cast<int>(n - at < kLanes ? n - at : kLanes);
    const F32x16 values = F32x16::load_first(from + at, count, 0.0f);
    U32x16 rounded = as_u32(values * F32x16::broadcast(inverse) + shift) - as_u32(shift);
    if (!sound) rounded = U32x16::zero();
    sums = sums + rounded;
    store_bytes(rounded, q + at, count);
  }
  uint32_t lanes[kLanes];
  sums.store(lanes);
  int32_t sum = 0;
  for (const uint32_t lane : lanes) sum += static_cast<int32_t>(lane);
  return {sound ? most / 127.0f : __builtin_nanf(""), sum};
}

}  // namespace

extern const Int8LinearKernels int8_linear_kernels{
    {&quantize_row<float>, &quantize_row<BFloat16>, &quantize_row<Float16>},
    {&multiply_tile<float, PlainDot, 1>, &multiply_tile<BFloat16, PlainDot, 1>,
     &multiply_tile<Float16, PlainDot, 1>}};

}  // namespace onesearch::ONESEARCH_TIER
