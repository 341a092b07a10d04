// Costs of vectors against centroids in float32, per tier.
#pragma once

#include <cstdint>

#include "cpu/isa.h"

namespace onesearch {

constexpr int kScanLanes = 16;
// Codes a panel holds, and vectors that go through it together: 24 accumulators of sixteen lanes
// hide the latency of a fused multiply-add and leave registers for their operands.
constexpr int kPanelCodes = 32;
constexpr int kGroupVectors = 12;

// What a vector has met so far, by lane; lane i meets the codes c with c mod 16 = i.
struct LaneScan {
  float best[kScanLanes];       // least cost
  float runner_up[kScanLanes];  // the next one
  uint32_t code[kScanLanes];    // of the least cost; the lowest of equals
};

// Centroids laid out for the scan. A panel is kPanelCodes offsets (squared norm plus price, +inf
// where there is no code), then for each dimension the values of all its codes, times -2.
struct CodePanels {
  const float* data;
  int64_t num_codes;
  int64_t dim;

  int64_t num_panels() const { return (num_codes + kPanelCodes - 1) / kPanelCodes; }
  int64_t panel_floats() const { return (dim + 1) * kPanelCodes; }
};

struct NearestCodeKernels {
  // vectors: num_groups x dim x kGroupVectors floats; scans: one for each vector, to be updated by
  // its costs less ||vector||^2; prices: null, or a row of num_codes for each vector, added.
  void (*scan)(const float* vectors, int64_t num_groups, const CodePanels& panels,
               const float* const* prices, LaneScan* scans);

  // out[c] = ||vector - centroids[c]||^2; centroids: num_codes rows, `stride` floats apart.
  void (*distances)(const float* vector, const float* centroids, int64_t stride, int64_t num_codes,
                    int64_t dim, float* out);
};

ONESEARCH_TIER_TABLE(NearestCodeKernels, nearest_code_kernels)

}  // namespace onesearch
