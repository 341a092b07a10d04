// code[i] = argmin over c of ||vectors[i] - centroids[c]||^2 + price of c, ties to the lower c.
#pragma once

#include <optional>

#include "core/tensor_view.h"

namespace onesearch {

struct NearestCodeInput {
  TensorView vectors;                // [vector, dim] float32, rows contiguous
  TensorView centroids;              // [code, dim] float32, rows contiguous; at least one code
  std::optional<TensorView> prices;  // [code], or [group, code] with groups; float64, contiguous
  std::optional<TensorView> groups;  // [vector] int32: whose row of prices a vector pays
};

// code: [vector] int32. The argmin is that of the costs in float64, each summed by halves (element
// i with i + n/2, and so on, n the next power of two), so it depends on the bits of the vector, the
// centroids and the prices alone. Float32 only rules codes out, within its error bound. A code
// whose cost is not finite is never chosen; -1 when there is no other.
//
// Cost: vector x code x dim multiply-adds; a distance matrix is never written.
void nearest_code(const NearestCodeInput& input, const TensorView& code);

// Throws what nearest_code would throw, and computes nothing.
void check_nearest_code(const NearestCodeInput& input, const TensorView& code);

}  // namespace onesearch
