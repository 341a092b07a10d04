#include "ops/constrained_beam_step/device_step.h"

#include <algorithm>
#include <string>

#include "core/tensor_check.h"

namespace onesearch {
namespace {

template <class T>
DeviceMatrix<T> matrix_of(const TensorView& tensor) {
  return {static_cast<T*>(tensor.data), tensor.strides[0], tensor.strides[1]};
}

void check_supported(const BeamStepInput& input) {
  const TensorCheck check("constrained_beam_step");
  if (input.num_beams > DeviceBeamStep::kMostBeams) {
    check.refuse("num_beams", "at most 4096 with backend 'cuda'", std::to_string(input.num_beams),
                 "use backend='triton'");
  }
  if (input.options == nullptr) return;
  const BeamStepOptions& options = *input.options;
  const bool reorders = options.node_prior != nullptr || options.max_children_per_parent != 0 ||
                        options.sibling_penalty != 0.0f || options.gumbel != nullptr;
  if (!reorders) return;
  check.refuse("options", "beam_widths alone with backend 'cuda'", "options that reorder the beams",
               "use backend='triton'");
}

int64_t shared_bytes(int64_t num_beams) {
  const auto limit = static_cast<uint32_t>(num_beams) + 1;
  const uint32_t capacity = step_capacity(limit, step_offered(limit));
  return static_cast<int64_t>(BlockCandidates::bytes(capacity, limit));
}

}  // namespace

DeviceBeamStep device_step(const BeamStepInput& input, const BeamStepOutput& output,
                           const BeamStepSlot* slots) {
  check_supported(input);
  DeviceBeamStep step;
  step.logits = input.logits.data;
  std::copy_n(input.logits.strides.begin(), 3, step.logits_strides);
  step.dtype = input.logits.dtype;
  step.node = matrix_of<const int32_t>(input.node);
  step.beam_scores = matrix_of<const float>(input.beam_scores);
  if (input.log_normalizer != nullptr) {
    step.log_normalizer = matrix_of<const float>(*input.log_normalizer);
  }
  step.slots = slots;
  if (input.options != nullptr && input.options->beam_widths != nullptr) {
    step.beam_widths = input.options->beam_widths->at<const int32_t>(0);
    step.beam_widths_stride = input.options->beam_widths->strides[0];
  }
  step.batch = static_cast<uint32_t>(input.logits.shape[0]);
  step.beams = static_cast<uint32_t>(input.logits.shape[1]);
  step.codes = static_cast<uint32_t>(input.logits.shape[2]);
  step.num_beams = static_cast<uint32_t>(input.num_beams);
  step.offered = step_offered(step.limit());
  step.level = input.level;
  step.normalizer = input.normalizer;
  step.scores = matrix_of<float>(output.scores);
  step.parent_beam = matrix_of<int32_t>(output.parent_beam);
  step.tokens = matrix_of<int32_t>(output.tokens);
  step.node_out = matrix_of<int32_t>(output.node);
  step.count = output.count.at<int32_t>(0);
  step.count_stride = output.count.strides[0];
  step.best_dropped = output.best_dropped.at<float>(0);
  step.best_dropped_stride = output.best_dropped.strides[0];
  return step;
}

void plan_shares(uint32_t num_sms, bool has_clusters, DeviceBeamStep* step) {
  constexpr uint32_t kWarps = kStepThreads / 32;
  constexpr uint32_t kMostShares = 32;
  constexpr uint32_t kMostBlocksOfCluster = 8;
  constexpr uint64_t kMostBytesOfCluster = 1 << 20;
  const uint64_t bytes = uint64_t{step->beams} * step->codes * dtype_bytes(step->dtype);
  step->cluster = has_clusters && bytes <= kMostBytesOfCluster;
  const uint32_t rounds = (step->beams + kWarps - 1) / kWarps;
  const uint32_t blocks = num_sms / std::max(1u, step->batch);
  const uint32_t wanted =
      std::min({rounds, blocks, step->cluster ? kMostBlocksOfCluster : kMostShares});
  // A power of two, as clusters are.
  step->shares = 1;
  while (2 * step->shares <= wanted) step->shares *= 2;
}

void check_shared_memory(const DeviceBeamStep& step, int64_t bytes) {
  if (shared_bytes(step.num_beams) <= bytes) return;
  int64_t most = DeviceBeamStep::kMostBeams;
  while (most > 1 && shared_bytes(most) > bytes) --most;
  TensorCheck("constrained_beam_step")
      .refuse("num_beams",
              "at most " + std::to_string(most) +
                  " with backend 'cuda' on this device, whose blocks have " +
                  std::to_string(bytes) + " bytes of shared memory",
              std::to_string(step.num_beams), "use backend='triton'");
}

uint64_t list_bytes(const DeviceBeamStep& step) {
  if (step.cluster) return 0;
  const uint64_t lists = uint64_t{step.batch} * step.shares;
  return lists * (step.limit() * 12 + 8);
}

void place_lists(void* memory, DeviceBeamStep* step) {
  const uint64_t lists = uint64_t{step->batch} * step->shares;
  step->lists.key = static_cast<uint64_t*>(memory);
  step->lists.node = reinterpret_cast<uint32_t*>(step->lists.key + lists * step->limit());
  step->lists.size = step->lists.node + lists * step->limit();
  step->lists.lost = step->lists.size + lists;
}

}  // namespace onesearch
