#include "cpu/sum_of_squares.h"
#include "ops/rotary/rotary_kernels.h"

namespace onesearch::ONESEARCH_TIER {
namespace {

// A head's elements in float32, normed where there is a weight.
template <class T>
struct Head {
  const T* x;
  const T* norm_weight;
  F32x16 inverse_rms;

  ONESEARCH_INLINE F32x16 load(int64_t at, int n) const {
    const F32x16 value = F32x16::load_first(x + at, n, 0.0f);
    if (norm_weight == nullptr) return value;
    return value * inverse_rms * F32x16::load_first(norm_weight + at, n, 0.0f);
  }
};

template <class T>
void rotate_head(const void* x, const float* rotation, const void* norm_weight, float eps,
                 void* out, int64_t head_dim) {
  Head<T> head{static_cast<const T*>(x), static_cast<const T*>(norm_weight), F32x16::zero()};
  if (norm_weight != nullptr) {
    head.inverse_rms = F32x16::broadcast(inverse_rms(head.x, head_dim, eps));
  }
  T* to = static_cast<T*>(out);
  const int64_t half = head_dim / 2;
  for (int64_t at = 0; at < half; at += kLanes) {
    const int n = static_cast<int>(half - at < kLanes ? half - at : kLanes);
    const F32x16 first = head.load(at, n);
    const F32x16 second = head.load(at + half, n);
    const F32x16 cosine = F32x16::load_first(rotation + at, n, 0.0f);
    const F32x16 sine = F32x16::load_first(rotation + half + at, n, 0.0f);
    fma(first, cosine, negate(second * sine)).store_first(to + at, n);
    fma(second, cosine, first * sine).store_first(to + half + at, n);
  }
}

}  // namespace

extern const FloatKernels<RotateHead> rotary_kernels{&rotate_head<float>, &rotate_head<BFloat16>,
                                                     &rotate_head<Float16>};

}  // namespace onesearch::ONESEARCH_TIER
