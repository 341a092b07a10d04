#include "ops/int8_linear/int8_linear.h"

#include <algorithm>
#include <string>
#include <vector>

#include "core/tensor_check.h"
#include "cpu/cpuid.h"
#include "cpu/thread_pool.h"
#include "ops/int8_linear/int8_linear_kernels.h"

namespace onesearch {
namespace {

const TensorCheck kCheck("int8_linear", TensorCheck::kAnyDevice);
// Elements, and products, that make a task worth handing to another thread: some 10 us.
constexpr int64_t kElementsPerTask = 1 << 15;
constexpr int64_t kProductsPerTask = 1 << 22;
// Rows that a task multiplies with weights while those lie in its first caches.
constexpr int64_t kTaskRows = 16 * kTileRows;
// Sums of so many products of 127 * 127 still fit into 32 bits.
constexpr int64_t kMaxIn = 1 << 17;

bool has_vnni() {
#if defined(__x86_64__)
  static const bool present = cpu_has({"avx512_vnni"});
  return present && avx512_vnni::multiply.float32 != nullptr && isa_tier() == IsaTier::kAvx512;
#else
  return false;
#endif
}

MultiplyTile multiply_kernel(DType dtype) {
#if defined(__x86_64__)
  if (has_vnni()) return avx512_vnni::multiply.of(dtype);
#endif
  return int8_linear_kernels().multiply.of(dtype);
}

unsigned char* at_offset(const TensorView& tensor, int64_t elements) {
  return static_cast<unsigned char*>(tensor.data) + elements * dtype_bytes(tensor.dtype);
}

// Memory of the calling thread, kept from call to call; other threads write to it meanwhile.
struct Workspace {
  std::vector<int8_t> q;
  std::vector<QuantizedRow> row;
};

Workspace& workspace(int64_t rows, int64_t in) {
  thread_local Workspace memory;
  if (static_cast<int64_t>(memory.q.size()) < rows * in) memory.q.resize(rows * in);
  if (static_cast<int64_t>(memory.row.size()) < rows) memory.row.resize(rows);
  return memory;
}

void quantize(const TensorView& x, Workspace& memory) {
  const QuantizeRow quantize_row = int8_linear_kernels().quantize.of(x.dtype);
  const int64_t in = x.shape[1];
  const int64_t grain = grain_of(kElementsPerTask, in);
  parallel_for(x.shape[0], grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      memory.row[i] = quantize_row(at_offset(x, i * x.strides[0]), in, memory.q.data() + i * in);
    }
  });
}

Int8Tile make_tile(const Int8LinearInput& input, const TensorView& out, const Workspace& memory,
                   int64_t first_row, int64_t first_block) {
  const int64_t in = input.x.shape[1];
  const int64_t output = first_block * kBlockOutputs;
  const TensorView* other = input.added != nullptr ? input.added : input.factor;
  Int8Tile tile;
  tile.rows = static_cast<int>(std::min<int64_t>(kTileRows, out.shape[0] - first_row));
  tile.blocks =
      static_cast<int>(std::min<int64_t>(kTileBlocks, input.weight.shape[0] - first_block));
  tile.in = in;
  tile.q = memory.q.data() + first_row * in;
  tile.row = memory.row.data() + first_row;
  tile.weight = static_cast<const uint8_t*>(input.weight.data) + output * in;
  tile.weight_scale = input.weight_scale.at<float>(output);
  tile.bias = input.bias == nullptr ? nullptr : at_offset(*input.bias, output);
  tile.activation = input.activation;
  tile.multiply = input.factor != nullptr;
  tile.other_stride = other == nullptr ? 0 : other->strides[0];
  tile.other =
      other == nullptr ? nullptr : at_offset(*other, first_row * other->strides[0] + output);
  tile.out_stride = out.strides[0];
  tile.out = at_offset(out, first_row * out.strides[0] + output);
  return tile;
}

bool is_contiguous(const TensorView& tensor) {
  int64_t stride = 1;
  for (int axis = tensor.ndim - 1; axis >= 0; --axis) {
    if (tensor.shape[axis] != 1 && tensor.strides[axis] != stride) return false;
    stride *= tensor.shape[axis];
  }
  return true;
}

void check_other(const Int8LinearInput& input, const TensorView* other, const char* argument,
                 int64_t outputs) {
  if (other == nullptr) return;
  kCheck.tensor(*other, argument, input.x.dtype, {{"row", input.x.shape[0]}, {"out", outputs}});
  kCheck.contiguous_rows(*other, argument);
}

}  // namespace

void check_int8_linear(const Int8LinearInput& input, const TensorView& out) {
  kCheck.floats(input.x, "x", 2);
  kCheck.contiguous_rows(input.x, "x");
  const int64_t in = input.x.shape[1];
  const int64_t blocks = input.weight.ndim == 4 ? input.weight.shape[0] : 0;
  const int64_t outputs = blocks * kBlockOutputs;
  kCheck.tensor(input.weight, "weight", DType::kUInt8,
                {{"out / 16", blocks}, {"in / 4", in / 4}, {"16", kBlockOutputs}, {"4", 4}});
  if (in % 4 != 0 || !is_contiguous(input.weight)) {
    kCheck.refuse("weight", "contiguous memory, of rows of a multiple of 4",
                  "rows of " + std::to_string(in), "pack it with pack_int8_weight");
  }
  if (in > kMaxIn) {
    kCheck.refuse("x", "at most " + std::to_string(kMaxIn) + " as in", std::to_string(in));
  }
  kCheck.tensor(input.weight_scale, "weight_scale", DType::kFloat32, {{"out", outputs}});
  kCheck.contiguous_rows(input.weight_scale, "weight_scale");
  if (input.bias != nullptr) {
    kCheck.tensor(*input.bias, "bias", input.x.dtype, {{"out", outputs}});
    kCheck.contiguous_rows(*input.bias, "bias");
  }
  if (input.added != nullptr && input.factor != nullptr) {
    kCheck.refuse("factor", "added or factor, or neither", "both");
  }
  check_other(input, input.added, "added", outputs);
  check_other(input, input.factor, "factor", outputs);
  kCheck.tensor(out, "out", input.x.dtype, {{"row", input.x.shape[0]}, {"out", outputs}});
  kCheck.contiguous_rows(out, "out");
  kCheck.writable(out, "out");
  kCheck.one_device({{&input.x, "x"},
                     {&input.weight, "weight"},
                     {&input.weight_scale, "weight_scale"},
                     {input.bias, "bias"},
                     {input.added, "added"},
                     {input.factor, "factor"},
                     {&out, "out"}});
}

void int8_linear(const Int8LinearInput& input, const TensorView& out) {
  check_int8_linear(input, out);
  kCheck.on_cpu(input.x, "x");
  const int64_t rows = input.x.shape[0];
  const int64_t in = input.x.shape[1];
  const int64_t panels = (input.weight.shape[0] + kTileBlocks - 1) / kTileBlocks;
  const MultiplyTile multiply_tile = multiply_kernel(input.x.dtype);
  Workspace& memory = workspace(rows, in);
  quantize(input.x, memory);
  const int64_t grain = grain_of(kProductsPerTask, kTaskRows * kTileBlocks * kBlockOutputs * in);
  const int64_t chunks = (rows + kTaskRows - 1) / kTaskRows;
  parallel_for(panels * chunks, grain, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t first = task % chunks * kTaskRows;
      const int64_t block = task / chunks * kTileBlocks;
      for (int64_t row = first; row < std::min(first + kTaskRows, rows); row += kTileRows) {
        multiply_tile(make_tile(input, out, memory, row, block));
      }
    }
  });
}

}  // namespace onesearch
