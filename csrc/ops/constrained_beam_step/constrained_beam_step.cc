#include "ops/constrained_beam_step/constrained_beam_step.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "core/tensor_check.h"
#include "cpu/thread_pool.h"
#include "ops/constrained_beam_step/beam_walk.h"
#include "ops/constrained_beam_step/best_candidates.h"
#include "ops/constrained_beam_step/check.h"

namespace onesearch {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
// Elements of logits that make a task worth handing to another thread: about 10 us.
constexpr int64_t kElementsPerTask = 65536;

// How one call is cut into tasks: every request into the same number of shares of its beams.
struct Plan {
  int64_t batch;
  int64_t shares;

  explicit Plan(const BeamStepInput& input) : batch(input.logits.shape[0]), shares(1) {
    const int64_t threads = num_threads();
    if (batch >= threads) return;
    const int64_t elements = input.logits.shape[1] * input.logits.shape[2];
    const int64_t most = std::min(input.logits.shape[1], elements / kElementsPerTask);
    shares =
        std::clamp<int64_t>(threads / std::max<int64_t>(batch, 1), 1, std::max<int64_t>(most, 1));
  }
};

int64_t width_of(const BeamStepInput& input, int64_t request) {
  if (input.options == nullptr || input.options->beam_widths == nullptr) return input.num_beams;
  return *input.options->beam_widths->at<const int32_t>(request);
}

void write(CandidateSpan best, const BeamStepOutput& output, int64_t request, int64_t num_beams) {
  const auto count = static_cast<int64_t>(best.size);
  for (int64_t i = 0; i < num_beams; ++i) {
    const bool alive = i < count;
    const uint64_t key = alive ? best.data[i].key : 0;
    *output.scores.at<float>(request, i) = alive ? best.data[i].score : -kInfinity;
    *output.parent_beam.at<int32_t>(request, i) = alive ? static_cast<int32_t>(parent_of(key)) : -1;
    *output.tokens.at<int32_t>(request, i) = alive ? static_cast<int32_t>(token_of(key)) : -1;
    *output.node.at<int32_t>(request, i) = alive ? static_cast<int32_t>(best.data[i].node) : -1;
    if (output.perturbed == nullptr) continue;
    *output.perturbed->at<float>(request, i) = alive ? score_of(key) : -kInfinity;
  }
  *output.count.at<int32_t>(request) = static_cast<int32_t>(count);
}

void finish(const BeamStepInput& input, const BeamStepOutput& output, int64_t request,
            BestCandidates* best) {
  write(best->finish(static_cast<size_t>(width_of(input, request))), output, request,
        input.num_beams);
  *output.best_dropped.at<float>(request) = best->best_dropped();
}

// What the threads of one call leave behind, kept for the next call.
struct Workspace {
  std::vector<BestCandidates> best;         // [batch * shares]
  std::vector<SharedThreshold> thresholds;  // [batch]

  void reset(const BeamStepInput& input, const Plan& plan) {
    const auto tasks = static_cast<size_t>(plan.batch * plan.shares);
    if (best.size() < tasks) best.resize(tasks);
    if (thresholds.size() < static_cast<size_t>(plan.batch))
      thresholds.resize(static_cast<size_t>(plan.batch));
    for (int64_t task = 0; task < plan.batch * plan.shares; ++task) {
      const int64_t request = task / plan.shares;
      thresholds[request].reset();
      // One more than survive: the best that does not is part of the answer.
      best[task].reset(width_of(input, request) + 1, &thresholds[request]);
    }
  }
};

// Shares of one request are walked side by side, sparing one another work by a common threshold,
// and merged once all are done. Keys are unique and the best of them are one set, so the bits do
// not depend on who was faster.
template <class T>
void run(const BeamStepInput& input, const BeamStepOutput& output) {
  const Plan plan(input);
  static thread_local Workspace workspace;
  workspace.reset(input, plan);
  BestCandidates* const best = workspace.best.data();
  parallel_for(plan.batch * plan.shares, 1, [&](int64_t begin, int64_t end) {
    static thread_local WalkScratch<T> scratch;
    for (int64_t task = begin; task < end; ++task) {
      const int64_t request = task / plan.shares;
      BeamWalk<T> walk(input, request, &best[task], &scratch);
      walk.run({task % plan.shares, plan.shares});
      if (plan.shares == 1) finish(input, output, request, &best[task]);
    }
  });
  if (plan.shares == 1) return;
  for (int64_t request = 0; request < plan.batch; ++request) {
    BestCandidates& whole = best[request * plan.shares];
    for (int64_t share = 1; share < plan.shares; ++share) whole.add_all((&whole)[share]);
    finish(input, output, request, &whole);
  }
}

}  // namespace

void constrained_beam_step(const BeamStepInput& input, const BeamStepOutput& output) {
  check_constrained_beam_step(input, output);
  TensorCheck("constrained_beam_step").on_cpu(input.logits, "logits");
  switch (input.logits.dtype) {
    case DType::kFloat32:
      return run<float>(input, output);
    case DType::kBFloat16:
      return run<BFloat16>(input, output);
    default:
      return run<Float16>(input, output);
  }
}

}  // namespace onesearch
