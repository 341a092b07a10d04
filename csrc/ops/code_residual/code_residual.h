// What a code leaves of a vector: vectors[i] - centroids[codes[i]], or the part across it.
#pragma once

#include "core/tensor_view.h"

namespace onesearch {

struct CodeResidualInput {
  TensorView vectors;    // [vector, dim] float32, rows contiguous
  TensorView centroids;  // [code, dim] float32, rows contiguous
  TensorView codes;      // [vector] int32, rows of centroids
  bool project = false;  // take out the component along the centroid instead of the centroid
  bool normalize = false;
};

// out: [vector, dim] float32, rows contiguous; may be vectors. With x and c the vector and its
// centroid and r = x - c in float32 (project: r = x - (x.c / c.c) c in float64, rounded once):
//
//     out = r, with normalize r / ||r||, rounded once; 0 where ||r|| <= 1e-6 (||x|| + ||c||)
//
// so that normalising never blows rounding up to a direction. Sums are in float64, by halves as in
// nearest_code: the same bits for a row on every backend. Reads each row once.
void code_residual(const CodeResidualInput& input, const TensorView& out);

// Throws what code_residual would throw, and computes nothing.
void check_code_residual(const CodeResidualInput& input, const TensorView& out);

}  // namespace onesearch
