#include "ops/swiglu/swiglu.h"

#include <string>

#include "core/tensor_check.h"
#include "cpu/thread_pool.h"
#include "ops/swiglu/swiglu_kernels.h"

namespace onesearch {
namespace {

const TensorCheck kCheck("swiglu", TensorCheck::kAnyDevice);
// Elements that make a task worth handing to another thread: some 10 us.
constexpr int64_t kElementsPerTask = 1 << 14;

}  // namespace

void check_swiglu(const SwigluInput& input, const TensorView& out) {
  kCheck.floats(input.x, "x", 2);
  kCheck.contiguous_rows(input.x, "x");
  const int64_t columns = input.x.shape[1];
  if (columns % 2 != 0) {
    kCheck.refuse("x", "an even number of columns, gates and then ups", std::to_string(columns));
  }
  kCheck.tensor(out, "out", input.x.dtype, {{"row", input.x.shape[0]}, {"hidden", columns / 2}});
  kCheck.contiguous_rows(out, "out");
  kCheck.writable(out, "out");
  kCheck.one_device({{&input.x, "x"}, {&out, "out"}});
}

void swiglu(const SwigluInput& input, const TensorView& out) {
  check_swiglu(input, out);
  kCheck.on_cpu(input.x, "x");
  const GateRow gate_row = swiglu_kernels().of(input.x.dtype);
  const int64_t hidden = out.shape[1];
  const int64_t grain = grain_of(kElementsPerTask, hidden);
  parallel_for(out.shape[0], grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      auto* gate = static_cast<unsigned char*>(input.x.element({i}));
      gate_row(gate, gate + hidden * dtype_bytes(input.x.dtype), out.element({i}), hidden);
    }
  });
}

}  // namespace onesearch
