#include "cpu/sigmoid.h"
#include "ops/swiglu/swiglu_kernels.h"

namespace onesearch::ONESEARCH_TIER {
namespace {

template <class T>
void gate_row(const void* gate, const void* up, void* out, int64_t n) {
  const T* gates = static_cast<const T*>(gate);
  const T* ups = static_cast<const T*>(up);
  T* to = static_cast<T*>(out);
  for (int64_t at = 0; at < n; at += kLanes) {
    const int count = static_cast<int>(n - at < kLanes ? n - at : kLanes);
    const F32x16 g = F32x16::load_first(gates + at, count, 0.0f);
    const F32x16 u = F32x16::load_first(ups + at, count, 0.0f);
    (g * sigmoid(g) * u).store_first(to + at, count);
  }
}

}  // namespace

extern const FloatKernels<GateRow> swiglu_kernels{&gate_row<float>, &gate_row<BFloat16>,
                                                  &gate_row<Float16>};

}  // namespace onesearch::ONESEARCH_TIER
