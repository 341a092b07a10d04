// A beam's logits, checked and normalised.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"
#include "cpu/log_sum_exp.h"
#include "index/allowed_nodes.h"
#include "ops/constrained_beam_step/child_kernels.h"
#include "ops/constrained_beam_step/constrained_beam_step.h"

namespace onesearch {

// A checked build is for finding the model that computes NaN, so it reads every row and refuses
// what is else a dead beam.
#if defined(ONESEARCH_CHECKED)
constexpr bool kReadsEveryRow = true;
#else
constexpr bool kReadsEveryRow = false;
#endif

template <class T>
struct ReadRow {
  LogitRow<T> logits;
  float normalizer;
  float maximum;  // no logit is greater
};

// Memory of one thread, kept for the next request.
template <class T>
struct RowScratch {
  std::vector<T> row;
  std::vector<float> logits;
  PassedChildren passed;
};

template <class T>
class RowReader {
 public:
  RowReader(const BeamStepInput& input, int64_t request, RowScratch<T>* scratch)
      : input_(input), request_(request), scratch_(*scratch) {}

  // None for a dead beam. `next` is the beam whose row will be wanted after this one. Valid until
  // the next call.
  std::optional<ReadRow<T>> read(int64_t beam, const ChildList& children, int64_t next) {
    const LogitRow<T> row{contiguous(beam), static_cast<uint32_t>(input_.logits.shape[2])};
    const LogSumExp sums = read_all(row, next);
    if (kReadsEveryRow && sums.poisoned) reject("logits", beam);
    if (sums.poisoned) return std::nullopt;
    const float normalizer = normalizer_of(beam, row, sums.value, children);
    const bool poisoned = std::isnan(normalizer) || normalizer == kInfinity;
    if (kReadsEveryRow && poisoned) reject("log_normalizer", beam);
    if (!std::isfinite(normalizer)) return std::nullopt;
    return ReadRow<T>{row, normalizer, sums.maximum};
  }

 private:
  static constexpr float kInfinity = std::numeric_limits<float>::infinity();

  // As much of it as the normaliser asks for. One that is given speaks for the row.
  LogSumExp read_all(const LogitRow<T>& row, int64_t next) const {
    if (input_.normalizer == Normalizer::kLevel) {
      return log_sum_exp(row.at, row.size, logits_of(next));
    }
    const bool given = input_.normalizer == Normalizer::kVocab;
    if (given && !kReadsEveryRow) return {0.0f, kInfinity, false};
    const RowMaximum maximum = row_maximum(row.at, row.size);
    return {0.0f, maximum.value, maximum.poisoned};
  }

  float normalizer_of(int64_t beam, const LogitRow<T>& row, float log_sum_exp_of_row,
                      const ChildList& children) {
    switch (input_.normalizer) {
      case Normalizer::kLevel:
        return log_sum_exp_of_row;
      case Normalizer::kChildren:
        return over_children(row, children);
      case Normalizer::kNone:
        return 0.0f;
      case Normalizer::kVocab:
        return *input_.log_normalizer->at<const float>(request_, beam);
    }
    return kInfinity;
  }

  // log-sum-exp over the children with a live item below, before filters; -inf when there is none.
  float over_children(const LogitRow<T>& row, const ChildList& children) {
    std::vector<float>& logits = scratch_.logits;
    PassedChildren& passed = scratch_.passed;
    const AllowedNodes live(*input_.catalogues.of(request_), nullptr);
    logits.clear();
    for (uint32_t begin = 0; begin < children.size; begin += PassedChildren::kMost) {
      const uint32_t end = std::min(begin + PassedChildren::kMost, children.size);
      const float lowest = std::numeric_limits<float>::lowest();
      child_kernels().score(row.at)(row, children, begin, end, {0.0f, 0.0f}, lowest, &passed);
      if (!live.is_everything()) {
        child_kernels().keep_allowed(live, input_.level + 1, children, &passed);
      }
      logits.insert(logits.end(), passed.score, passed.score + passed.size);
    }
    return log_sum_exp(logits.data(), static_cast<int64_t>(logits.size())).value;
  }

  const T* logits_of(int64_t beam) const { return input_.logits.at<const T>(request_, beam); }

  const T* contiguous(int64_t beam) {
    const T* row = logits_of(beam);
    const int64_t n = input_.logits.shape[2];
    const int64_t stride = input_.logits.strides[2];
    // Gathers of narrow floats need two elements.
    if (stride == 1 && n > 1) return row;
    scratch_.row.resize(static_cast<size_t>(n) + 1);
    for (int64_t i = 0; i < n; ++i) scratch_.row[i] = row[i * stride];
    return scratch_.row.data();
  }

  [[noreturn]] void reject(const char* argument, int64_t beam) const {
    throw InvalidArgument(
        complaint("constrained_beam_step", argument, "neither NaN nor +inf",
                  "one at [" + std::to_string(request_) + ", " + std::to_string(beam) + "]",
                  "look for the first layer of the model whose output is not finite"));
  }

  const BeamStepInput& input_;
  int64_t request_;
  RowScratch<T>& scratch_;
};

}  // namespace onesearch
