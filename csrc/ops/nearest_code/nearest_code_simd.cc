#include "cpu/simd.h"
#include "ops/nearest_code/nearest_code_kernels.h"

namespace onesearch::ONESEARCH_TIER {
namespace {

// Vectors and runs of sixteen codes whose sums stay in registers: 24 of 32 on AVX-512, 12 (of eight
// lanes) of 16 elsewhere.
#if defined(ONESEARCH_TIER_avx512)
constexpr int kVectors = 12;
constexpr int kRuns = 2;
#else
constexpr int kVectors = 6;
constexpr int kRuns = 1;
#endif
static_assert(kGroupVectors % kVectors == 0 && kPanelCodes % (kRuns * kLanes) == 0, "");

struct Tile {
  F32x16 cost[kVectors][kRuns];
};

// Sums run over the dimensions in order, one fused multiply-add each: the same bits on all vector
// tiers.
ONESEARCH_INLINE Tile costs_of(const float* vectors, const float* panel, int first, int64_t dim) {
  Tile tile;
#pragma GCC unroll 12
  for (int i = 0; i < kVectors; ++i) {
#pragma GCC unroll 2
    for (int run = 0; run < kRuns; ++run) {
      tile.cost[i][run] = F32x16::load(panel + first + run * kLanes);
    }
  }
  const float* values = panel + kPanelCodes + first;
  for (int64_t d = 0; d < dim; ++d, values += kPanelCodes) {
    F32x16 code[kRuns];
#pragma GCC unroll 2
    for (int run = 0; run < kRuns; ++run) code[run] = F32x16::load(values + run * kLanes);
#pragma GCC unroll 12
    for (int i = 0; i < kVectors; ++i) {
      const F32x16 x = F32x16::broadcast(vectors[d * kGroupVectors + i]);
#pragma GCC unroll 2
      for (int run = 0; run < kRuns; ++run) {
        tile.cost[i][run] = fma(x, code[run], tile.cost[i][run]);
      }
    }
  }
  return tile;
}

ONESEARCH_INLINE void meet(LaneScan* scan, F32x16 cost, uint32_t first) {
  const F32x16 best = F32x16::load(scan->best);
  const U32x16 code = U32x16::load(scan->code);
  const Mask16 better = cost < best;
  min(max(cost, best), F32x16::load(scan->runner_up)).store(scan->runner_up);
  select(better, cost, best).store(scan->best);
  select(better, U32x16::iota() + U32x16::broadcast(first), code).store(scan->code);
}

ONESEARCH_INLINE F32x16 price_of(const float* prices, int64_t first, int64_t num_codes) {
  const int64_t left = num_codes - first;
  const int n = left >= kLanes ? kLanes : left > 0 ? static_cast<int>(left) : 0;
  return F32x16::load_first(prices + (n > 0 ? first : 0), n, 0.0f);
}

void scan_tile(const float* vectors, const CodePanels& panels, int64_t panel, int first,
               const float* const* prices, LaneScan* scans) {
  const float* data = panels.data + panel * panels.panel_floats();
  const Tile tile = costs_of(vectors, data, first, panels.dim);
  const int64_t code = panel * kPanelCodes + first;
  for (int i = 0; i < kVectors; ++i) {
    for (int run = 0; run < kRuns; ++run) {
      F32x16 cost = tile.cost[i][run];
      const int64_t at = code + run * kLanes;
      if (prices != nullptr) cost = cost + price_of(prices[i], at, panels.num_codes);
      meet(scans + i, cost, static_cast<uint32_t>(at));
    }
  }
}

// A panel stays in the first cache while all vectors pass it.
void scan(const float* vectors, int64_t num_groups, const CodePanels& panels,
          const float* const* prices, LaneScan* scans) {
  for (int64_t panel = 0; panel < panels.num_panels(); ++panel) {
    for (int first = 0; first < kPanelCodes; first += kRuns * kLanes) {
      for (int64_t i = 0; i < num_groups * kGroupVectors; i += kVectors) {
        const float* const* own_prices = prices == nullptr ? nullptr : prices + i;
        const float* group = vectors + i / kGroupVectors * kGroupVectors * panels.dim;
        scan_tile(group + i % kGroupVectors, panels, panel, first, own_prices, scans + i);
      }
    }
  }
}

ONESEARCH_INLINE F32x16 squares(F32x16 x, F32x16 c, F32x16 sum) {
  const F32x16 gap = x - c;
  return fma(gap, gap, sum);
}

ONESEARCH_INLINE float distance(const float* x, const float* c, int64_t dim) {
  F32x16 sums[2] = {F32x16::zero(), F32x16::zero()};
  int64_t d = 0;
  for (; d + 2 * kLanes <= dim; d += 2 * kLanes) {
    sums[0] = squares(F32x16::load(x + d), F32x16::load(c + d), sums[0]);
    sums[1] = squares(F32x16::load(x + d + kLanes), F32x16::load(c + d + kLanes), sums[1]);
  }
  for (; d < dim; d += kLanes) {
    const int n = dim - d < kLanes ? static_cast<int>(dim - d) : kLanes;
    const F32x16 rest = F32x16::load_first(c + d, n, 0.0f);
    sums[0] = squares(F32x16::load_first(x + d, n, 0.0f), rest, sums[0]);
  }
  return reduce_add(sums[0] + sums[1]);
}

void distances(const float* vector, const float* centroids, int64_t stride, int64_t num_codes,
               int64_t dim, float* out) {
  for (int64_t c = 0; c < num_codes; ++c) out[c] = distance(vector, centroids + c * stride, dim);
}

}  // namespace

extern const NearestCodeKernels nearest_code_kernels{&scan, &distances};

}  // namespace onesearch::ONESEARCH_TIER
