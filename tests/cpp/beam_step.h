// Inputs and outputs of constrained_beam_step with their memory, and what the step must give by
// brute force.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <tuple>
#include <vector>

#include "index/catalogue_view.h"
#include "ops/constrained_beam_step/constrained_beam_step.h"

namespace onesearch::testing {

template <class T>
TensorView tensor(std::vector<T>& values, DType dtype, std::initializer_list<int64_t> shape) {
  TensorView view;
  view.data = values.data();
  view.dtype = dtype;
  for (const int64_t size : shape) view.shape[view.ndim++] = size;
  int64_t stride = 1;
  for (int axis = view.ndim - 1; axis >= 0; --axis) {
    view.strides[axis] = stride;
    stride *= view.shape[axis];
  }
  return view;
}

struct Step {
  int64_t batch;
  int64_t beams;
  int64_t num_beams;
  std::vector<float> logits;
  std::vector<int32_t> node;
  std::vector<float> beam_scores;
  std::vector<float> log_normalizer;
  TensorView log_normalizer_view;
  std::vector<float> scores;
  std::vector<int32_t> parent_beam;
  std::vector<int32_t> tokens;
  std::vector<int32_t> node_out;
  std::vector<int32_t> count;
  std::vector<float> best_dropped;
  CatalogueView catalogue;
  const CatalogueView* catalogue_pointer = &catalogue;
  BeamStepInput input;
  BeamStepOutput output;

  // Random values everywhere; one node in five does not exist.
  Step(uint32_t seed, const CatalogueView& searched, int level, int64_t batch_size, int64_t beam_in,
       int64_t width, Normalizer normalizer)
      : batch(batch_size), beams(beam_in), num_beams(width), catalogue(searched) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0.0f, 3.0f);
    const int64_t size = catalogue.base.level_sizes[level];
    for (int64_t i = 0; i < batch * beams * size; ++i) logits.push_back(normal(random));
    for (int64_t i = 0; i < batch * beams; ++i) {
      const int64_t nodes = catalogue.num_nodes(level);
      const int64_t drawn = static_cast<int64_t>(random() % (nodes + 1 + nodes / 5)) - 1;
      node.push_back(level == 0 ? 0 : static_cast<int32_t>(drawn));
      beam_scores.push_back(normal(random));
      log_normalizer.push_back(normal(random));
    }
    scores.assign(batch * num_beams, 7.0f);
    for (auto* ids : {&parent_beam, &tokens, &node_out}) ids->assign(batch * num_beams, 7);
    count.assign(batch, 7);
    best_dropped.assign(batch, 7.0f);
    log_normalizer_view = tensor(log_normalizer, DType::kFloat32, {batch, beams});
    input.logits = tensor(logits, DType::kFloat32, {batch, beams, size});
    input.node = tensor(node, DType::kInt32, {batch, beams});
    input.beam_scores = tensor(beam_scores, DType::kFloat32, {batch, beams});
    if (normalizer == Normalizer::kVocab) input.log_normalizer = &log_normalizer_view;
    input.catalogues = {&catalogue_pointer, 1};
    input.num_beams = num_beams;
    input.level = level;
    input.normalizer = normalizer;
    output.scores = tensor(scores, DType::kFloat32, {batch, num_beams});
    output.parent_beam = tensor(parent_beam, DType::kInt32, {batch, num_beams});
    output.tokens = tensor(tokens, DType::kInt32, {batch, num_beams});
    output.node = tensor(node_out, DType::kInt32, {batch, num_beams});
    output.count = tensor(count, DType::kInt32, {batch});
    output.best_dropped = tensor(best_dropped, DType::kFloat32, {batch});
  }
  Step(const Step&) = delete;
  Step& operator=(const Step&) = delete;

  void run() { constrained_beam_step(input, output); }
};

struct Survivor {
  double score;
  int64_t parent;
  int64_t token;
  int64_t node;

  // Best first.
  bool operator<(const Survivor& other) const {
    return std::make_tuple(-score, parent, token) <
           std::make_tuple(-other.score, other.parent, other.token);
  }
};

inline double log_sum_exp(const std::vector<double>& values) {
  double largest = -std::numeric_limits<double>::infinity();
  for (const double x : values) largest = std::max(largest, x);
  double sum = 0;
  for (const double x : values) sum += std::exp(x - largest);
  return largest + std::log(sum);
}

inline double normalizer_of(const Step& step, int64_t row, const std::vector<double>& logits,
                            NodeRange children) {
  switch (step.input.normalizer) {
    case Normalizer::kLevel:
      return log_sum_exp(logits);
    case Normalizer::kChildren: {
      std::vector<double> valid;
      for (uint32_t edge = children.begin; edge < children.end; ++edge) {
        valid.push_back(logits[step.catalogue.base.token(step.input.level, edge)]);
      }
      return log_sum_exp(valid);
    }
    case Normalizer::kNone:
      return 0;
    case Normalizer::kVocab:
      return step.log_normalizer[row];
  }
  return 0;
}

// All candidates of one request that a filter lets through, best first, in float64.
inline std::vector<Survivor> brute_force(const Step& step, int64_t request,
                                         const CatalogueFilterView* filter) {
  const SidTrieView& trie = step.catalogue.base;
  const int level = step.input.level;
  const int64_t size = trie.level_sizes[level];
  std::vector<Survivor> all;
  for (int64_t beam = 0; beam < step.beams; ++beam) {
    const int64_t row = request * step.beams + beam;
    const NodeRange children = trie.children(level, step.node[row]);
    const auto first = step.logits.begin() + row * size;
    const std::vector<double> logits(first, first + size);
    const double normalizer = normalizer_of(step, row, logits, children);
    for (uint32_t edge = children.begin; edge < children.end; ++edge) {
      const int64_t token = trie.token(level, edge);
      const double score = step.beam_scores[row] + (logits[token] - normalizer);
      const bool allowed = filter == nullptr || filter->base.any(trie.item_range(level + 1, edge));
      if (std::isfinite(score) && allowed) all.push_back({score, beam, token, edge});
    }
  }
  std::sort(all.begin(), all.end());
  return all;
}

}  // namespace onesearch::testing
