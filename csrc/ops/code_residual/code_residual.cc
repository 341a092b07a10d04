#include "ops/code_residual/code_residual.h"

#include <cmath>
#include <string>

#include "core/exact_sum.h"
#include "core/tensor_check.h"
#include "cpu/thread_pool.h"

namespace onesearch {
namespace {

const TensorCheck kCheck("code_residual");
constexpr int64_t kVectorsPerTask = 256;
// A residual this small beside its vector is rounding of the subtraction, not information.
constexpr double kNothingLeft = 1e-6;

void take_out(const float* x, const float* c, bool project, ExactSum* sum, float* out) {
  const int64_t dim = sum->size();
  if (!project) {
    for (int64_t d = 0; d < dim; ++d) out[d] = x[d] - c[d];
    return;
  }
  const double length = sum->of_squares(c);
  const double share = length > 0.0 ? sum->of_products(x, c) / length : 0.0;
  for (int64_t d = 0; d < dim; ++d) {
    out[d] = static_cast<float>(static_cast<double>(x[d]) - share * static_cast<double>(c[d]));
  }
}

void residual_of(const float* x, const float* c, const CodeResidualInput& input, ExactSum* sum,
                 float* out) {
  const double whole = std::sqrt(sum->of_squares(x)) + std::sqrt(sum->of_squares(c));
  take_out(x, c, input.project, sum, out);
  const double left = std::sqrt(sum->of_squares(out));
  const bool vanished = left <= kNothingLeft * whole;
  if (!vanished && !input.normalize) return;
  const double length = vanished ? 1.0 : left;
  for (int64_t d = 0; d < sum->size(); ++d) {
    out[d] = vanished ? 0.0f : static_cast<float>(static_cast<double>(out[d]) / length);
  }
}

void check_codes(const CodeResidualInput& input) {
  const int64_t num_codes = input.centroids.shape[0];
  for (int64_t i = 0; i < input.codes.shape[0]; ++i) {
    const int32_t code = *input.codes.at<int32_t>(i);
    if (code >= 0 && code < num_codes) continue;
    kCheck.refuse("codes", "rows of centroids, of which there are " + std::to_string(num_codes),
                  std::to_string(code) + " at " + std::to_string(i));
  }
}

}  // namespace

void check_code_residual(const CodeResidualInput& input, const TensorView& out) {
  const TensorView& vectors = input.vectors;
  const TensorView& centroids = input.centroids;
  if (vectors.ndim != 2) kCheck.refuse("vectors", "[vector, dim]", shape_text(vectors));
  if (centroids.ndim != 2) kCheck.refuse("centroids", "[code, dim]", shape_text(centroids));
  const int64_t num_vectors = vectors.shape[0];
  const int64_t dim = vectors.shape[1];
  kCheck.tensor(vectors, "vectors", DType::kFloat32, {{"vector", num_vectors}, {"dim", dim}});
  kCheck.tensor(centroids, "centroids", DType::kFloat32,
                {{"code", centroids.shape[0]}, {"dim", dim}});
  kCheck.tensor(input.codes, "codes", DType::kInt32, {{"vector", num_vectors}});
  kCheck.tensor(out, "out", DType::kFloat32, {{"vector", num_vectors}, {"dim", dim}});
  kCheck.contiguous_rows(vectors, "vectors");
  kCheck.contiguous_rows(centroids, "centroids");
  kCheck.contiguous_rows(out, "out");
  kCheck.writable(out, "out");
  check_codes(input);
}

void code_residual(const CodeResidualInput& input, const TensorView& out) {
  check_code_residual(input, out);
  parallel_for(input.vectors.shape[0], kVectorsPerTask, [&](int64_t begin, int64_t end) {
    ExactSum sum(input.vectors.shape[1]);
    for (int64_t i = begin; i < end; ++i) {
      const float* centroid = input.centroids.at<float>(*input.codes.at<int32_t>(i));
      residual_of(input.vectors.at<float>(i), centroid, input, &sum, out.at<float>(i));
    }
  });
}

}  // namespace onesearch
