// What products with packed weights end in:
//     out[i, o] = activation(y[i, o] + bias[o]) + added[i, o], or activation(...) * factor[i, o]
#pragma once

#include "core/tensor_check.h"
#include "core/tensor_view.h"
#include "cpu/tile_end.h"

namespace onesearch {

struct ProductEnd {
  const TensorView* bias = nullptr;  // [out] in the dtype of `out`, contiguous
  Activation activation = Activation::kNone;
  const TensorView* added = nullptr;   // [row, out] in the dtype of `out`, rows contiguous
  const TensorView* factor = nullptr;  // as added; one of both at most

  // Throws where one of these, or out [row, out], is not as it must be for x and so many outputs.
  void check(const TensorCheck& check, const TensorView& x, int64_t outputs,
             const TensorView& out) const;

  TileEnd at(const TensorView& out, int64_t row, int64_t output) const;
};

}  // namespace onesearch
