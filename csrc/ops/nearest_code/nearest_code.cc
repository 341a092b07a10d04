#include "ops/nearest_code/nearest_code.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "core/exact_sum.h"
#include "core/tensor_check.h"
#include "cpu/thread_pool.h"
#include "ops/nearest_code/nearest_code_kernels.h"

namespace onesearch {
namespace {

const TensorCheck kCheck("nearest_code");
constexpr float kInfinity = std::numeric_limits<float>::infinity();
// Vectors of a task: 96 rows of 128 floats fill a part of the second cache and pass each panel of
// centroids while it is in the first.
constexpr int64_t kTaskGroups = 8;
constexpr int64_t kTaskVectors = kTaskGroups * kGroupVectors;
// Laying the centroids out pays from about this many vectors on.
constexpr int64_t kFewVectors = 16;

// How far apart two float32 costs may lie and still be in the wrong order, in parts of the largest
// sum of squares in play. 1e-5 in general; the bound of a long sum where that is more.
double tolerance_of(int64_t dim) {
  return std::max(1e-5, 2.5 * static_cast<double>(dim + 8) * 0x1p-24);
}

// Everything one call shares.
class Assignment {
 public:
  Assignment(const NearestCodeInput& input, const TensorView& code)
      : input_(input),
        code_(code),
        dim_(input.vectors.shape[1]),
        num_codes_(input.centroids.shape[0]),
        tolerance_(tolerance_of(dim_)) {}

  int64_t num_vectors() const { return input_.vectors.shape[0]; }
  const float* vector(int64_t i) const { return input_.vectors.at<float>(i); }
  const float* centroid(int64_t c) const { return input_.centroids.at<float>(c); }

  // What vector i pays for each code; null when all are free.
  const double* prices(int64_t i) const {
    if (!input_.prices) return nullptr;
    if (!input_.groups) return static_cast<const double*>(input_.prices->data);
    return input_.prices->at<double>(*input_.groups->at<int32_t>(i));
  }

  void lay_out_panels();
  void decide_block(int64_t begin, int64_t end) const;
  void decide_alone(int64_t i, std::vector<float>* costs, ExactSum* exact) const;

 private:
  // The norms and the price that all vectors share, which the panels hold.
  double offset(int64_t c, double norm) const {
    const bool shared = input_.prices && !input_.groups;
    return shared ? norm + prices(0)[c] : norm;
  }
  void lay_out_prices();
  void lay_out_panel(int64_t panel, ExactSum* exact);
  void lay_out_vector(const float* values, int64_t row, float* block) const;
  bool is_clear(const LaneScan& scan, int64_t i, ExactSum* exact, int32_t* code) const;
  double largest_price(int64_t i) const;

  const NearestCodeInput& input_;
  const TensorView& code_;
  int64_t dim_;
  int64_t num_codes_;
  double tolerance_;
  std::vector<float> panels_;
  std::vector<double> largest_;  // by panel: of squared norm + |shared price|
  double scale_ = 0.0;           // the largest of these
  std::vector<float> prices_;    // of groups, rounded
};

void Assignment::lay_out_panel(int64_t panel, ExactSum* exact) {
  float* data = panels_.data() + panel * (dim_ + 1) * kPanelCodes;
  double largest = 0.0;
  for (int64_t lane = 0; lane < kPanelCodes; ++lane) {
    const int64_t c = panel * kPanelCodes + lane;
    data[lane] = kInfinity;
    if (c >= num_codes_) continue;
    const double norm = exact->of_squares(centroid(c));
    data[lane] = static_cast<float>(offset(c, norm));
    // Not std::max, which may drop a NaN.
    const double size = norm + std::abs(offset(c, 0.0));
    if (!(size <= largest)) largest = size;
    for (int64_t d = 0; d < dim_; ++d) data[(d + 1) * kPanelCodes + lane] = -2.0f * centroid(c)[d];
  }
  largest_[static_cast<size_t>(panel)] = largest;
}

void Assignment::lay_out_prices() {
  if (!input_.groups) return;
  const TensorView& prices = *input_.prices;
  prices_.resize(static_cast<size_t>(prices.shape[0] * num_codes_));
  for (int64_t group = 0; group < prices.shape[0]; ++group) {
    const double* from = prices.at<double>(group);
    float* to = prices_.data() + group * num_codes_;
    for (int64_t c = 0; c < num_codes_; ++c) to[c] = static_cast<float>(from[c]);
  }
}

void Assignment::lay_out_panels() {
  lay_out_prices();
  const int64_t num_panels = (num_codes_ + kPanelCodes - 1) / kPanelCodes;
  panels_.assign(static_cast<size_t>(num_panels * (dim_ + 1) * kPanelCodes), 0.0f);
  largest_.resize(static_cast<size_t>(num_panels));
  parallel_for(num_panels, 4, [&](int64_t begin, int64_t end) {
    ExactSum exact(dim_);
    for (int64_t panel = begin; panel < end; ++panel) lay_out_panel(panel, &exact);
  });
  for (const double largest : largest_) {
    if (!(largest <= scale_)) scale_ = largest;
  }
}

double Assignment::largest_price(int64_t i) const {
  if (!input_.groups) return 0.0;
  double largest = 0.0;
  for (int64_t c = 0; c < num_codes_; ++c) {
    const double price = std::abs(prices(i)[c]);
    if (!(price <= largest)) largest = price;
  }
  return largest;
}

// Whether one code is so much cheaper than all others that float32 cannot be wrong about it.
bool Assignment::is_clear(const LaneScan& scan, int64_t i, ExactSum* exact, int32_t* code) const {
  int best = 0;
  for (int lane = 1; lane < kScanLanes; ++lane) {
    if (scan.best[lane] < scan.best[best]) best = lane;
  }
  const double cost = scan.best[best];
  const double scale = exact->of_squares(vector(i)) + scale_ + largest_price(i);
  const double threshold = cost + tolerance_ * scale;
  // A sum that leaves float32 leaves infinities or NaN here: then nothing is clear.
  if (!(scale < std::numeric_limits<float>::max()) || !std::isfinite(cost)) return false;
  for (int lane = 0; lane < kScanLanes; ++lane) {
    const float next = lane == best ? scan.runner_up[lane] : scan.best[lane];
    if (next <= threshold) return false;
  }
  *code = static_cast<int32_t>(scan.code[best]);
  return true;
}

void Assignment::lay_out_vector(const float* values, int64_t row, float* block) const {
  float* to = block + row / kGroupVectors * kGroupVectors * dim_ + row % kGroupVectors;
  for (int64_t d = 0; d < dim_; ++d) to[d * kGroupVectors] = values[d];
}

void Assignment::decide_block(int64_t begin, int64_t end) const {
  const int64_t groups = (end - begin + kGroupVectors - 1) / kGroupVectors;
  std::vector<float> block(static_cast<size_t>(groups * kGroupVectors * dim_), 0.0f);
  std::vector<LaneScan> scans(static_cast<size_t>(groups * kGroupVectors));
  std::vector<const float*> block_prices(scans.size());
  for (size_t row = 0; row < scans.size(); ++row) {
    const int64_t i = std::min(begin + static_cast<int64_t>(row), end - 1);
    lay_out_vector(vector(i), static_cast<int64_t>(row), block.data());
    std::fill_n(scans[row].best, kScanLanes, kInfinity);
    std::fill_n(scans[row].runner_up, kScanLanes, kInfinity);
    std::fill_n(scans[row].code, kScanLanes, 0u);
    if (input_.groups) {
      block_prices[row] = prices_.data() + *input_.groups->at<int32_t>(i) * num_codes_;
    }
  }
  const CodePanels panels{panels_.data(), num_codes_, dim_};
  const float* const* own_prices = input_.groups ? block_prices.data() : nullptr;
  nearest_code_kernels().scan(block.data(), groups, panels, own_prices, scans.data());

  std::vector<float> costs(static_cast<size_t>(num_codes_));
  ExactSum exact(dim_);
  for (int64_t i = begin; i < end; ++i) {
    int32_t* code = code_.at<int32_t>(i);
    if (!is_clear(scans[static_cast<size_t>(i - begin)], i, &exact, code)) {
      decide_alone(i, &costs, &exact);
    }
  }
}

void Assignment::decide_alone(int64_t i, std::vector<float>* costs, ExactSum* exact) const {
  float* cost = costs->data();
  nearest_code_kernels().distances(vector(i), centroid(0), input_.centroids.strides[0], num_codes_,
                                   dim_, cost);
  const double* price = prices(i);
  float least = kInfinity;
  double scale = 0.0;
  for (int64_t c = 0; c < num_codes_; ++c) {
    const double size = price == nullptr ? cost[c] : std::abs(price[c]) + cost[c];
    if (price != nullptr) cost[c] += static_cast<float>(price[c]);
    if (!(size <= scale)) scale = size;
    if (cost[c] < least) least = cost[c];
  }
  // Where float32 overflowed or met NaN, every code is measured.
  const bool bounded = scale < std::numeric_limits<float>::max();
  const double threshold = static_cast<double>(least) + tolerance_ * scale;
  double best = std::numeric_limits<double>::infinity();
  int32_t code = -1;
  for (int64_t c = 0; c < num_codes_; ++c) {
    if (bounded && !(cost[c] <= threshold)) continue;
    double total = exact->of_distance(vector(i), centroid(c));
    if (price != nullptr) total += price[c];
    if (total < best && std::isfinite(total)) {
      best = total;
      code = static_cast<int32_t>(c);
    }
  }
  *code_.at<int32_t>(i) = code;
}

void check_groups(const NearestCodeInput& input, const TensorView& prices) {
  const int64_t num_vectors = input.vectors.shape[0];
  if (prices.ndim != 2) kCheck.refuse("prices", "[group, code] with groups", shape_text(prices));
  kCheck.tensor(*input.groups, "groups", DType::kInt32, {{"vector", num_vectors}});
  for (int64_t i = 0; i < num_vectors; ++i) {
    const int32_t group = *input.groups->at<int32_t>(i);
    if (group >= 0 && group < prices.shape[0]) continue;
    kCheck.refuse("groups", "rows of prices, of which there are " + std::to_string(prices.shape[0]),
                  std::to_string(group) + " at " + std::to_string(i));
  }
}

}  // namespace

void check_nearest_code(const NearestCodeInput& input, const TensorView& code) {
  const TensorView& vectors = input.vectors;
  const TensorView& centroids = input.centroids;
  if (vectors.ndim != 2) kCheck.refuse("vectors", "[vector, dim]", shape_text(vectors));
  if (centroids.ndim != 2) kCheck.refuse("centroids", "[code, dim]", shape_text(centroids));
  const int64_t dim = vectors.shape[1];
  kCheck.tensor(vectors, "vectors", DType::kFloat32, {{"vector", vectors.shape[0]}, {"dim", dim}});
  const int64_t num_codes = centroids.shape[0];
  kCheck.tensor(centroids, "centroids", DType::kFloat32, {{"code", num_codes}, {"dim", dim}});
  kCheck.contiguous_rows(vectors, "vectors");
  kCheck.contiguous_rows(centroids, "centroids");
  if (num_codes == 0 || dim == 0) {
    kCheck.refuse("centroids", "one code or more, of one dimension or more", shape_text(centroids));
  }
  kCheck.tensor(code, "out", DType::kInt32, {{"vector", vectors.shape[0]}});
  kCheck.writable(code, "out");
  if (input.groups && !input.prices) kCheck.refuse("prices", "[group, code] with groups", "None");
  if (!input.prices) return;
  kCheck.contiguous_rows(*input.prices, "prices");
  if (input.groups) {
    check_groups(input, *input.prices);
    const int64_t num_groups = input.prices->shape[0];
    kCheck.tensor(*input.prices, "prices", DType::kFloat64,
                  {{"group", num_groups}, {"code", num_codes}});
  } else {
    kCheck.tensor(*input.prices, "prices", DType::kFloat64, {{"code", num_codes}});
  }
}

void nearest_code(const NearestCodeInput& input, const TensorView& code) {
  check_nearest_code(input, code);
  Assignment assignment(input, code);
  const int64_t num_vectors = assignment.num_vectors();
  if (num_vectors <= kFewVectors) {
    std::vector<float> costs(static_cast<size_t>(input.centroids.shape[0]));
    ExactSum exact(input.vectors.shape[1]);
    for (int64_t i = 0; i < num_vectors; ++i) assignment.decide_alone(i, &costs, &exact);
    return;
  }
  assignment.lay_out_panels();
  parallel_for((num_vectors + kTaskVectors - 1) / kTaskVectors, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      assignment.decide_block(task * kTaskVectors,
                              std::min(num_vectors, (task + 1) * kTaskVectors));
    }
  });
}

}  // namespace onesearch
