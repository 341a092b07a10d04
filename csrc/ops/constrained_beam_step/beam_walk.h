// The walk over the beams of one request: what each contributes to the candidates.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <optional>
#include <vector>

#include "core/ranking.h"
#include "ops/constrained_beam_step/best_candidates.h"
#include "ops/constrained_beam_step/child_kernels.h"
#include "ops/constrained_beam_step/child_lists.h"
#include "ops/constrained_beam_step/row_reader.h"
#include "ops/constrained_beam_step/sibling_rules.h"

namespace onesearch {

// The beams first, first + step, first + 2 step, ... of a request: shares in which good and bad
// parents are mixed alike.
struct BeamShare {
  int64_t first;
  int64_t step;
};

// Memory of one thread, kept for the next request.
template <class T>
struct WalkScratch {
  ChildLists lists;
  std::vector<int64_t> order;
  std::vector<Sibling> siblings;
  RowScratch<T> rows;
};

template <class T>
class BeamWalk {
 public:
  BeamWalk(const BeamStepInput& input, int64_t request, BestCandidates* best,
           WalkScratch<T>* scratch)
      : input_(input),
        request_(request),
        catalogue_(*input.catalogues.of(request)),
        allowed_(catalogue_, input.filters.of(request)),
        kernels_(child_kernels()),
        rows_(input, request, &scratch->rows),
        best_(*best),
        scratch_(*scratch) {
    if (input.options != nullptr) rules_.emplace(*input.options, request);
  }

  // Offers the candidates of these beams.
  void run(BeamShare share) {
    const int64_t n = (input_.logits.shape[1] - share.first + share.step - 1) / share.step;
    const TensorView& node = input_.node;
    scratch_.lists.find(catalogue_, input_.level, node.at<const int32_t>(request_, share.first),
                        node.strides[1] * share.step, n);
    const std::vector<int64_t>& order = best_first(share);
    for (size_t i = 0; i < order.size(); ++i) {
      const int64_t beam = order[i];
      const ChildList children = scratch_.lists.of((beam - share.first) / share.step);
      const int64_t next = i + 1 < order.size() ? order[i + 1] : beam;
      scratch_.lists.prefetch((next - share.first) / share.step);
      if (children.size > 0) visit(beam, children, next);
    }
  }

 private:
  // The best parents first: their children soon set a threshold that spares looking at the others.
  const std::vector<int64_t>& best_first(BeamShare share) const {
    std::vector<int64_t>& order = scratch_.order;
    order.clear();
    for (int64_t beam = share.first; beam < input_.logits.shape[1]; beam += share.step) {
      order.push_back(beam);
    }
    const auto better = [this](int64_t a, int64_t b) {
      return ordered_bits(beam_score(a)) > ordered_bits(beam_score(b));
    };
    if (!std::is_sorted(order.begin(), order.end(), better)) {
      std::sort(order.begin(), order.end(), better);
    }
    return order;
  }

  float beam_score(int64_t beam) const {
    return *input_.beam_scores.at<const float>(request_, beam);
  }

  void visit(int64_t beam, const ChildList& children, int64_t next) {
    const float score = beam_score(beam);
    if (!std::isfinite(score) || (rules_ && !rules_->is_alive(beam))) return;
    const auto parent = static_cast<uint32_t>(beam);
    // Normalisers that are sums over the candidates leave no logit above 0.
    const bool sums =
        input_.normalizer == Normalizer::kLevel || input_.normalizer == Normalizer::kChildren;
    if (sums && !kReadsEveryRow && !can_matter(score, parent)) return;
    const std::optional<ReadRow<T>> row = rows_.read(beam, children, next);
    if (!row) return lose(beam, score);
    // Rounding is monotone, so no child's score exceeds that of the row's maximum.
    if (!can_matter(score + (row->maximum - row->normalizer), parent)) return;
    offer(*row, {score, row->normalizer}, children, parent);
  }

  // A dead row: what lies below scores at most what its beam does, where scores fall at all.
  void lose(int64_t beam, float score) {
    const int32_t node = *input_.node.at<const int32_t>(request_, beam);
    if (allowed_.is_everything() || allowed_.any(input_.level, node)) best_.drop(score);
  }

  // Whether a candidate of at most this score can still survive or be the best that does not.
  bool can_matter(float score, uint32_t parent) const {
    if (rules_ && (!rules_->bounded_by_score() || score > best_.best_dropped())) return true;
    return best_.admits(candidate_key(score, parent, 0));
  }

  // No candidate of a lower score matters.
  float least_score() const {
    if (!rules_) return best_.least_score();
    const float lowest = std::numeric_limits<float>::lowest();
    if (!rules_->bounded_by_score()) return lowest;
    return std::max(lowest, std::min(best_.least_score(), best_.best_dropped()));
  }

  void offer(const ReadRow<T>& row, Scoring scoring, const ChildList& children, uint32_t parent) {
    PassedChildren& passed = scratch_.rows.passed;
    scratch_.siblings.clear();
    const auto score_children = kernels_.score(row.logits.at);
    for (uint32_t begin = 0; begin < children.size; begin += PassedChildren::kMost) {
      const uint32_t end = std::min(begin + PassedChildren::kMost, children.size);
      score_children(row.logits, children, begin, end, scoring, least_score(), &passed);
      if (!allowed_.is_everything()) {
        kernels_.keep_allowed(allowed_, input_.level + 1, children, &passed);
      }
      if (rules_) {
        append(passed, children);
      } else {
        add(passed, children, parent);
      }
    }
    if (rules_) add_by_rules(parent);
  }

  void add(const PassedChildren& passed, const ChildList& children, uint32_t parent) {
    for (uint32_t i = 0; i < passed.size; ++i) {
      const uint32_t child = passed.child[i];
      const uint64_t key = candidate_key(passed.score[i], parent, children.token(child));
      best_.add({key, passed.score[i], children.node(child)});
    }
  }

  void append(const PassedChildren& passed, const ChildList& children) {
    for (uint32_t i = 0; i < passed.size; ++i) {
      const float score = passed.score[i];
      const uint32_t child = passed.child[i];
      scratch_.siblings.push_back({score, score, children.token(child), children.node(child)});
    }
  }

  void add_by_rules(uint32_t parent) {
    const std::vector<Sibling>& siblings = scratch_.siblings;
    const size_t eligible = rules_->apply(parent, &scratch_.siblings);
    for (size_t i = 0; i < siblings.size(); ++i) {
      const Sibling& sibling = siblings[i];
      const uint64_t key = candidate_key(sibling.weight, parent, sibling.token);
      if (i < eligible && best_.admits(key)) {
        best_.add({key, sibling.score, sibling.node});
      } else {
        best_.drop(sibling.score);
      }
    }
  }

  const BeamStepInput& input_;
  int64_t request_;
  const CatalogueView& catalogue_;
  AllowedNodes allowed_;
  const ChildKernels& kernels_;
  RowReader<T> rows_;
  BestCandidates& best_;
  WalkScratch<T>& scratch_;
  std::optional<SiblingRules> rules_;
};

}  // namespace onesearch
