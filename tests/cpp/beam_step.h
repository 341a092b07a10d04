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

#include "check.h"
#include "core/hash.h"
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
  std::vector<float> perturbed;  // [batch, num_beams] once asked for
  TensorView perturbed_view;
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
  // After nodes or scores were replaced.
  void point_at_inputs() {
    input.node = tensor(node, DType::kInt32, {batch, beams});
    input.beam_scores = tensor(beam_scores, DType::kFloat32, {batch, beams});
  }

  void all_on(Device device) {
    for (TensorView* view :
         {&input.logits, &input.node, &input.beam_scores, &output.scores, &output.parent_beam,
          &output.tokens, &output.node, &output.count, &output.best_dropped}) {
      view->device = device;
    }
  }

  // Makes the keys an output.
  void want_perturbed() {
    perturbed.assign(static_cast<size_t>(batch * num_beams), 7.0f);
    perturbed_view = tensor(perturbed, DType::kFloat32, {batch, num_beams});
    output.perturbed = &perturbed_view;
  }

  Step(const Step&) = delete;
  Step& operator=(const Step&) = delete;

  void run() { constrained_beam_step(input, output); }

  // All outputs but nodes, whose numbers are their catalogue's own.
  std::vector<unsigned char> bits_without_nodes() const {
    std::vector<unsigned char> bits;
    const auto append = [&bits](const auto& values) {
      const auto* first = reinterpret_cast<const unsigned char*>(values.data());
      bits.insert(bits.end(), first, first + values.size() * sizeof values[0]);
    };
    append(scores);
    append(parent_beam);
    append(tokens);
    append(count);
    append(best_dropped);
    return bits;
  }

  std::vector<unsigned char> bits() const {
    std::vector<unsigned char> all = bits_without_nodes();
    const auto* first = reinterpret_cast<const unsigned char*>(node_out.data());
    all.insert(all.end(), first, first + node_out.size() * sizeof node_out[0]);
    return all;
  }
};

struct Candidate64 {
  double score;
  int64_t parent;
  int64_t token;
  int64_t node;
  double key;
  bool eligible;  // within the quota of its parent

  // Best first.
  bool operator<(const Candidate64& other) const {
    return std::make_tuple(-key, parent, token) <
           std::make_tuple(-other.key, other.parent, other.token);
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

// Kool et al. 2019, as the formula stands there.
inline void perturb(const GumbelNoise& gumbel, int64_t request, int64_t beam,
                    std::vector<Candidate64>* siblings) {
  uint64_t path = mix(static_cast<uint64_t>(*gumbel.seed.at<const int64_t>(request)));
  for (int64_t level = 0; level < gumbel.path.shape[2]; ++level) {
    path = extend_path(path,
                       static_cast<uint32_t>(*gumbel.path.at<const int32_t>(request, beam, level)));
  }
  const double parent = *gumbel.perturbed.at<const float>(request, beam);
  double greatest = -std::numeric_limits<double>::infinity();
  for (Candidate64& one : *siblings) {
    const uint64_t hash = extend_path(path, static_cast<uint32_t>(one.token));
    const double uniform = (static_cast<double>(hash >> 11) + 0.5) / 9007199254740992.0;
    one.key -= std::log(-std::log(uniform));
    greatest = std::max(greatest, one.key);
  }
  for (Candidate64& one : *siblings) {
    one.key = -std::log(std::exp(-parent) - std::exp(-greatest) + std::exp(-one.key));
  }
}

inline void apply(const BeamStepOptions& options, int64_t request, int64_t beam,
                  std::vector<Candidate64>* siblings) {
  const auto better_score = [](const Candidate64& a, const Candidate64& b) {
    return a.score != b.score ? a.score > b.score : a.token < b.token;
  };
  std::sort(siblings->begin(), siblings->end(), better_score);
  double rank = 0;
  for (Candidate64& one : *siblings) {
    if (options.node_prior != nullptr) one.key += *options.node_prior->at<const float>(one.node);
    one.key -= options.sibling_penalty * rank++;
  }
  if (options.gumbel != nullptr) {
    perturb(*options.gumbel, request, beam, siblings);
    // Keys are kept in float32, where two of them may tie; the lower token then goes first.
    for (Candidate64& one : *siblings) one.key = static_cast<float>(one.key);
  }
  std::sort(siblings->begin(), siblings->end());
  const auto most = static_cast<size_t>(options.max_children_per_parent);
  for (size_t i = 0; i < siblings->size(); ++i) (*siblings)[i].eligible = most == 0 || i < most;
}

// All candidates of one request that its filter lets through, best first, in float64.
inline std::vector<Candidate64> brute_force(const Step& step, int64_t request) {
  const SidTrieView& trie = step.catalogue.base;
  const CatalogueFilterView* const filter = step.input.filters.of(request);
  const int level = step.input.level;
  const int64_t size = trie.level_sizes[level];
  std::vector<Candidate64> all;
  for (int64_t beam = 0; beam < step.beams; ++beam) {
    const int64_t row = request * step.beams + beam;
    const NodeRange children = trie.children(level, step.node[row]);
    const auto first = step.logits.begin() + row * size;
    const std::vector<double> logits(first, first + size);
    const double normalizer = normalizer_of(step, row, logits, children);
    std::vector<Candidate64> siblings;
    for (uint32_t edge = children.begin; edge < children.end; ++edge) {
      const int64_t token = trie.token(level, edge);
      double score = step.beam_scores[row] + (logits[token] - normalizer);
      if (step.input.normalizer == Normalizer::kNone) {
        // As it is computed, to the bit: noise can tell more apart than a tolerance.
        score = step.beam_scores[row] + step.logits[row * size + token];
      }
      const bool allowed = filter == nullptr || filter->base.any(trie.item_range(level + 1, edge));
      if (std::isfinite(score) && allowed) {
        siblings.push_back({score, beam, token, edge, score, true});
      }
    }
    if (step.input.options != nullptr) apply(*step.input.options, request, beam, &siblings);
    all.insert(all.end(), siblings.begin(), siblings.end());
  }
  std::sort(all.begin(), all.end());
  return all;
}

// The best score of a beam above an allowed item whose logits leave no finite normaliser.
inline double best_of_dead_rows(const Step& step, int64_t request) {
  const SidTrieView& trie = step.catalogue.base;
  const CatalogueFilterView* const filter = step.input.filters.of(request);
  const int level = step.input.level;
  const int64_t size = trie.level_sizes[level];
  double best = -std::numeric_limits<double>::infinity();
  for (int64_t row = request * step.beams; row < (request + 1) * step.beams; ++row) {
    const NodeRange children = trie.children(level, step.node[row]);
    const auto first = step.logits.begin() + row * size;
    const double normalizer = normalizer_of(step, row, {first, first + size}, children);
    if (children.size() == 0 || std::isfinite(normalizer)) continue;
    if (filter != nullptr && !filter->base.any(trie.item_range(level, step.node[row]))) continue;
    best = std::max<double>(best, step.beam_scores[row]);
  }
  return best;
}

inline bool near(double a, double b) {
  return a == b || std::abs(a - b) < 2e-5 + 1e-6 * std::abs(b);
}

// Random scores are distinct by far more than rounding, so ids must be those of brute force.
inline void check_step(const Step& step) {
  for (int64_t request = 0; request < step.batch; ++request) {
    const BeamStepOptions* options = step.input.options;
    const bool narrowed = options != nullptr && options->beam_widths != nullptr;
    const int64_t width =
        narrowed ? *options->beam_widths->at<const int32_t>(request) : step.num_beams;
    int64_t count = 0;
    double best_dropped = best_of_dead_rows(step, request);
    for (const Candidate64& expected : brute_force(step, request)) {
      if (!expected.eligible || count == width) {
        best_dropped = std::max(best_dropped, expected.score);
        continue;
      }
      const int64_t at = request * step.num_beams + count++;
      CHECK_EQUAL(step.parent_beam[at], expected.parent);
      CHECK_EQUAL(step.tokens[at], expected.token);
      CHECK_EQUAL(step.node_out[at], expected.node);
      CHECK(near(step.scores[at], expected.score));
      if (!step.perturbed.empty()) CHECK(near(step.perturbed[at], expected.key));
    }
    CHECK_EQUAL(step.count[request], count);
    CHECK(near(step.best_dropped[request], best_dropped));
    for (int64_t at = request * step.num_beams + count; at < (request + 1) * step.num_beams; ++at) {
      CHECK_EQUAL(step.scores[at], -std::numeric_limits<float>::infinity());
      CHECK_EQUAL(step.parent_beam[at], -1);
      CHECK_EQUAL(step.tokens[at], -1);
      CHECK_EQUAL(step.node_out[at], -1);
    }
  }
}

}  // namespace onesearch::testing
