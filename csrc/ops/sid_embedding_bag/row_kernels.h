// The inner loops of sid_embedding_bag and of its gradient, per tier and element type.
#pragma once

#include <cstdint>

#include "core/dtype.h"
#include "cpu/float_kernels.h"
#include "cpu/isa.h"

namespace onesearch {

// Some columns of a table.
struct Columns {
  const void* data;     // of row 0
  int64_t stride;       // between rows, in elements
  const float* scales;  // [row]; null: all 1
  int64_t width;
  bool near;  // in one of the core's own caches
};

// List i adds rows index[t] with weights[t], t in [begin[i], begin[i + 1]).
struct Lists {
  const uint32_t* begin;
  const uint32_t* index;
  const float* weights;  // null: all 1
  int64_t count;
  int64_t num_terms;  // of these lists and those behind them, from index[0] on
};

struct Sums {
  float* data;  // sum of list 0
  int64_t stride;
  bool fresh;  // they begin at zero, whatever is there
};

// One function per element type of a table.
template <class Function>
struct TableKernels {
  FloatKernels<Function> floats;
  Function int8;

  Function of(DType dtype) const { return dtype == DType::kInt8 ? int8 : floats.of(dtype); }
};

struct RowKernels {
  // sums[i][c] += sum over terms of list i, in order, of weight * scale * table[row][c]
  using Gather = void (*)(const Columns& table, const Lists& lists, const Sums& sums);
  // tile[i][c] = scale * table[first + i][c], i in [0, num_rows), the tile's rows close together
  using Pack = void (*)(const Columns& table, int64_t first, int64_t num_rows, float* tile);
  // out[c] = scale * sums[c]
  using Store = void (*)(const float* sums, float scale, int64_t width, void* out);

  TableKernels<Gather> gather;
  TableKernels<Pack> pack;
  FloatKernels<Store> store;
};

ONESEARCH_TIER_TABLE(RowKernels, row_kernels)

}  // namespace onesearch
