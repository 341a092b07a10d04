#include "ops/bf16_linear/bf16_linear.h"

#include <algorithm>
#include <string>

#include "core/tensor_check.h"
#include "cpu/cpuid.h"
#include "cpu/thread_pool.h"
#include "ops/bf16_linear/bf16_linear_kernels.h"

namespace onesearch {
namespace {

const TensorCheck kCheck("bf16_linear", TensorCheck::kAnyDevice);
// Products that make a task worth handing to another thread: some 4 us.
constexpr int64_t kProductsPerTask = 1 << 20;
// Rows that a task multiplies with a panel while it lies in the second cache.
constexpr int64_t kTaskRows = 16 * kBf16TileRows;

MultiplyBf16Tile multiply_kernel() {
#if defined(__x86_64__)
  if (multiplies_bf16_pairs()) return avx512_bf16::bf16_linear_kernels.multiply;
#endif
  return bf16_linear_kernels().multiply;
}

Bf16Tile make_tile(const Bf16LinearInput& input, const TensorView& out, int64_t row, int64_t rows,
                   int64_t panel) {
  Bf16Tile tile;
  tile.rows = static_cast<int>(rows);
  tile.in = input.x.shape[1];
  tile.x = input.x.at<const uint16_t>(row);
  tile.x_stride = input.x.strides[0];
  tile.weight = input.weight.at<const uint16_t>(panel);
  tile.end = input.end.at(out, row, panel * kPanelOutputs);
  return tile;
}

}  // namespace

bool multiplies_bf16_pairs() {
#if defined(__x86_64__)
  static const bool present = cpu_has({"avx512_bf16"});
  return present && avx512_bf16::bf16_linear_kernels.multiply != nullptr &&
         isa_tier() == IsaTier::kAvx512;
#else
  return false;
#endif
}

void check_bf16_linear(const Bf16LinearInput& input, const TensorView& out) {
  kCheck.floats(input.x, "x", 2);
  const int64_t in = input.x.shape[1];
  kCheck.tensor(input.x, "x", DType::kBFloat16, {{"row", input.x.shape[0]}, {"in", in}});
  kCheck.contiguous_rows(input.x, "x");
  const int64_t panels = input.weight.ndim == 4 ? input.weight.shape[0] : 0;
  kCheck.tensor(input.weight, "weight", DType::kBFloat16,
                {{"out / 64", panels}, {"in / 2", in / 2}, {"64", kPanelOutputs}, {"2", 2}});
  if (in % 2 != 0 || !input.weight.is_contiguous()) {
    kCheck.refuse("weight", "contiguous memory, of rows of a multiple of 2",
                  "rows of " + std::to_string(in), "pack it with pack_bf16_weight");
  }
  input.end.check(kCheck, input.x, panels * kPanelOutputs, out);
  kCheck.one_device({{&input.x, "x"}, {&input.weight, "weight"}});
}

void bf16_linear(const Bf16LinearInput& input, const TensorView& out) {
  check_bf16_linear(input, out);
  kCheck.on_cpu(input.x, "x");
  const MultiplyBf16Tile multiply = multiply_kernel();
  const int64_t rows = input.x.shape[0];
  const int64_t chunks = (rows + kTaskRows - 1) / kTaskRows;
  const int64_t task_products = std::min(rows, kTaskRows) * kPanelOutputs * input.x.shape[1];
  const int64_t grain = grain_of(kProductsPerTask, task_products);
  parallel_for(input.weight.shape[0] * chunks, grain, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t first = rows * (task % chunks) / chunks;
      const int64_t count = rows * (task % chunks + 1) / chunks - first;
      // Of nearly equal sizes: a tile of one row takes as long as one of four.
      const int64_t tiles = (count + kBf16TileRows - 1) / kBf16TileRows;
      for (int64_t tile = 0; tile < tiles; ++tile) {
        const int64_t row = count * tile / tiles;
        const int64_t tile_rows = count * (tile + 1) / tiles - row;
        multiply(make_tile(input, out, first + row, tile_rows, task / chunks));
      }
    }
  });
}

}  // namespace onesearch
