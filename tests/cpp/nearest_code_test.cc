// Codes and residuals against plain loops in float64, on every tier that this processor has.
#include "ops/nearest_code/nearest_code.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "check.h"
#include "core/error.h"
#include "ops/code_residual/code_residual.h"
#include "tiers.h"

using namespace onesearch;
using namespace onesearch::testing;

namespace {

template <class T>
TensorView view_of(std::vector<T>& values, DType dtype, int64_t rows, int64_t columns) {
  TensorView view;
  view.data = values.data();
  view.dtype = dtype;
  view.ndim = columns == 0 ? 1 : 2;
  view.shape = {rows, columns};
  view.strides = {columns == 0 ? 1 : columns, 1};
  return view;
}

// Small integers, so that every sum is exact and many codes tie.
std::vector<float> small_integers(int64_t n, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<float> values(static_cast<size_t>(n));
  for (float& value : values) value = static_cast<float>(static_cast<int>(random() % 5) - 2);
  return values;
}

std::vector<double> small_prices(int64_t n, uint32_t seed) {
  const std::vector<float> values = small_integers(n, seed);
  return {values.begin(), values.end()};
}

struct Problem {
  int64_t num_vectors, num_codes, dim;
  std::vector<float> vectors = small_integers(num_vectors * dim, 1);
  std::vector<float> centroids = small_integers(num_codes * dim, 2);
  std::vector<double> prices = small_prices(3 * num_codes, 3);
  std::vector<int32_t> groups = std::vector<int32_t>(static_cast<size_t>(num_vectors));
  std::vector<int32_t> codes = std::vector<int32_t>(static_cast<size_t>(num_vectors), -9);

  NearestCodeInput input(bool priced) {
    NearestCodeInput made{view_of(vectors, DType::kFloat32, num_vectors, dim),
                          view_of(centroids, DType::kFloat32, num_codes, dim), std::nullopt,
                          std::nullopt};
    if (!priced) return made;
    for (size_t i = 0; i < groups.size(); ++i) groups[i] = static_cast<int32_t>(i % 3);
    made.prices = view_of(prices, DType::kFloat64, 3, num_codes);
    made.groups = view_of(groups, DType::kInt32, num_vectors, 0);
    return made;
  }

  TensorView code_view() { return view_of(codes, DType::kInt32, num_vectors, 0); }

  double cost(int64_t i, int64_t c, bool priced) const {
    double sum = priced ? prices[static_cast<size_t>(i % 3 * num_codes + c)] : 0.0f;
    for (int64_t d = 0; d < dim; ++d) {
      const float gap =
          vectors[static_cast<size_t>(i * dim + d)] - centroids[static_cast<size_t>(c * dim + d)];
      sum += gap * gap;
    }
    return sum;
  }

  int32_t expected(int64_t i, bool priced) const {
    int64_t best = 0;
    for (int64_t c = 1; c < num_codes; ++c) {
      if (cost(i, c, priced) < cost(i, best, priced)) best = c;
    }
    return static_cast<int32_t>(best);
  }
};

void check_codes(int64_t num_vectors, int64_t num_codes, int64_t dim, bool priced) {
  Problem problem{num_vectors, num_codes, dim};
  nearest_code(problem.input(priced), problem.code_view());
  for (int64_t i = 0; i < num_vectors; ++i) {
    CHECK_EQUAL(problem.codes[static_cast<size_t>(i)], problem.expected(i, priced));
  }
}

}  // namespace

TEST_ON_EVERY_TIER(ties_go_to_the_lowest_code) {
  for (const int64_t num_vectors : {0, 1, 16, 17, 100, 230}) {
    for (const bool priced : {false, true}) {
      check_codes(num_vectors, 1, 3, priced);
      check_codes(num_vectors, 33, 2, priced);
      check_codes(num_vectors, 100, 5, priced);
    }
  }
}

// In float32 both costs would be 1.
TEST_ON_EVERY_TIER(prices_part_what_float32_cannot) {
  for (const int64_t num_vectors : {1, 40}) {
    Problem problem{num_vectors, 2, 1};
    std::fill(problem.vectors.begin(), problem.vectors.end(), 0.0f);
    problem.centroids = {1.0f, 1.0f};
    problem.prices = {1e-15, 0.0, 0.0, 1e-15, 0.0, 0.0};
    nearest_code(problem.input(true), problem.code_view());
    for (int64_t i = 0; i < num_vectors; ++i) {
      CHECK_EQUAL(problem.codes[static_cast<size_t>(i)], i % 3 == 0 ? 1 : 0);
    }
  }
}

TEST_ON_EVERY_TIER(what_has_no_finite_cost_has_no_code) {
  Problem problem{20, 5, 4};
  problem.vectors[4 * 7] = std::numeric_limits<float>::quiet_NaN();
  problem.centroids[1] = std::numeric_limits<float>::infinity();
  nearest_code(problem.input(false), problem.code_view());
  CHECK_EQUAL(problem.codes[7], -1);
  CHECK(problem.codes[8] > 0);
}

TEST(bad_groups_are_refused) {
  Problem problem{20, 5, 4};
  NearestCodeInput input = problem.input(true);
  problem.groups[3] = 3;
  CHECK_THROWS(InvalidArgument, "got 3 at 3", nearest_code(input, problem.code_view()));
}

TEST(residuals_vanish_on_the_centroid_and_else_have_length_one) {
  std::vector<float> vectors = {1, 0, 4, 4, 1.0000001f, 0};
  std::vector<float> centroids = {1, 0};
  std::vector<int32_t> codes = {0, 0, 0};
  std::vector<float> out(6, 9.0f);
  const TensorView to = view_of(out, DType::kFloat32, 3, 2);
  code_residual({view_of(vectors, DType::kFloat32, 3, 2), view_of(centroids, DType::kFloat32, 1, 2),
                 view_of(codes, DType::kInt32, 3, 0), false, true},
                to);
  CHECK(out == (std::vector<float>{0, 0, 0.6f, 0.8f, 0, 0}));
  code_residual({view_of(vectors, DType::kFloat32, 3, 2), view_of(centroids, DType::kFloat32, 1, 2),
                 view_of(codes, DType::kInt32, 3, 0), true, false},
                to);
  CHECK(out == (std::vector<float>{0, 0, 0, 4, 0, 0}));
}
