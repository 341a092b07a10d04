#include "cpu/sum_of_squares.h"
#include "ops/rms_norm/rms_norm_kernels.h"

namespace onesearch::ONESEARCH_TIER {
namespace {

template <class T>
void norm_row(const void* x, const void* weight, void* out, int64_t n, float eps) {
  const T* from = static_cast<const T*>(x);
  const T* scale = static_cast<const T*>(weight);
  T* to = static_cast<T*>(out);
  const F32x16 inverse = F32x16::broadcast(inverse_rms(from, n, eps));
  int64_t at = 0;
  for (; at + kLanes <= n; at += kLanes) {
    (F32x16::load(from + at) * inverse * F32x16::load(scale + at)).store(to + at);
  }
  const int rest = static_cast<int>(n - at);
  const F32x16 last = F32x16::load_first(from + at, rest, 0.0f);
  (last * inverse * F32x16::load_first(scale + at, rest, 0.0f)).store_first(to + at, rest);
}

}  // namespace

extern const FloatKernels<NormRow> rms_norm_kernels{&norm_row<float>, &norm_row<BFloat16>,
                                                    &norm_row<Float16>};

}  // namespace onesearch::ONESEARCH_TIER
