#include "ops/constrained_beam_step/check.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

#include "core/ranking.h"
#include "core/tensor_check.h"

namespace onesearch {
namespace {

using Axis = TensorCheck::Axis;
const TensorCheck kCheck("constrained_beam_step", TensorCheck::kAnyDevice);

std::string one_per_request(int64_t batch) {
  return "one, or one per request (" + std::to_string(batch) + ")";
}

void check_catalogues(const PerRequest<CatalogueView>& catalogues, int64_t batch) {
  if (catalogues.size != 1 && catalogues.size != batch) {
    kCheck.refuse("trie", one_per_request(batch), std::to_string(catalogues.size) + " tries");
  }
  const SidTrieView& first = catalogues.of(0)->base;
  const uint32_t* const sizes_end = first.level_sizes + first.num_levels;
  for (int64_t i = 1; i < catalogues.size; ++i) {
    const SidTrieView& other = catalogues.of(i)->base;
    if (first.num_levels != other.num_levels ||
        !std::equal(first.level_sizes, sizes_end, other.level_sizes)) {
      kCheck.refuse("trie", "equal level sizes in all requests",
                    "others in request " + std::to_string(i));
    }
  }
}

void check_search(const BeamStepInput& input) {
  if (input.num_beams < 1 || input.num_beams > kMaxParents) {
    kCheck.refuse("num_beams", "1 to 65536", std::to_string(input.num_beams));
  }
  const int levels = input.catalogues.of(0)->base.num_levels;
  if (input.level < 0 || input.level >= levels) {
    kCheck.refuse("level", "a level of the trie, in [0, " + std::to_string(levels) + ")",
                  std::to_string(input.level));
  }
}

void check_beams(const BeamStepInput& input, Axis batch, Axis beams) {
  const int64_t codes = input.catalogues.of(0)->base.level_sizes[input.level];
  kCheck.floats(input.logits, "logits", 3);
  kCheck.tensor(input.logits, "logits", input.logits.dtype, {batch, beams, {"code", codes}});
  const int64_t most = input.level == 0 ? 1 : kMaxParents;
  if (beams.size < 1 || beams.size > most) {
    kCheck.refuse(
        "logits",
        "1 to " + std::to_string(most) + " beams a request at level " + std::to_string(input.level),
        shape_text(input.logits));
  }
  kCheck.tensor(input.node, "node", DType::kInt32, {batch, beams});
  kCheck.tensor(input.beam_scores, "beam_scores", DType::kFloat32, {batch, beams});
  kCheck.one_device({{&input.logits, "logits"},
                     {&input.node, "node"},
                     {&input.beam_scores, "beam_scores"},
                     {input.log_normalizer, "log_normalizer"}});
}

void check_normalizer(const BeamStepInput& input, Axis batch, Axis beams) {
  const auto number = static_cast<int>(input.normalizer);
  if (number < 0 || number > 3) kCheck.refuse("normalizer", "0 to 3", std::to_string(number));
  const bool vocab = input.normalizer == Normalizer::kVocab;
  if (input.log_normalizer == nullptr) {
    if (!vocab) return;
    kCheck.refuse("log_normalizer", "a tensor with normalizer 'vocab'", "none",
                  "pass the log-sum-exp over the model's whole vocabulary");
  }
  if (!vocab) {
    kCheck.refuse("log_normalizer", "none with another normalizer than 'vocab'", "a tensor",
                  "leave it out, or pass normalizer='vocab'");
  }
  kCheck.tensor(*input.log_normalizer, "log_normalizer", DType::kFloat32, {batch, beams});
}

void check_prior(const BeamStepInput& input) {
  if (input.catalogues.size != 1) {
    kCheck.refuse("options.node_prior", "one trie for all requests",
                  std::to_string(input.catalogues.size),
                  "nodes of different tries have different numbers");
  }
  kCheck.tensor(*input.options->node_prior, "options.node_prior", DType::kFloat32,
                {{"node", input.catalogues.of(0)->num_nodes(input.level + 1)}});
}

void check_widths(const TensorView& widths, Axis batch, int64_t num_beams) {
  kCheck.tensor(widths, "options.beam_widths", DType::kInt32, {batch});
  if (widths.device != Device::kCpu) return;
  for (int64_t request = 0; request < batch.size; ++request) {
    const int32_t width = *widths.at<const int32_t>(request);
    if (width >= 1 && width <= num_beams) continue;
    kCheck.refuse("options.beam_widths", "1 to num_beams (" + std::to_string(num_beams) + ")",
                  std::to_string(width) + " for request " + std::to_string(request));
  }
}

void check_options(const BeamStepInput& input, Axis batch, Axis beams) {
  const BeamStepOptions& options = *input.options;
  if (options.node_prior != nullptr) check_prior(input);
  if (options.max_children_per_parent < 0) {
    kCheck.refuse("options.max_children_per_parent", "at least 1",
                  std::to_string(options.max_children_per_parent));
  }
  if (!(options.sibling_penalty >= 0.0f) || !std::isfinite(options.sibling_penalty)) {
    kCheck.refuse("options.sibling_penalty", "a finite number from 0 on",
                  std::to_string(options.sibling_penalty));
  }
  if (options.beam_widths != nullptr) check_widths(*options.beam_widths, batch, input.num_beams);
  kCheck.one_device({{&input.logits, "logits"},
                     {options.node_prior, "options.node_prior"},
                     {options.beam_widths, "options.beam_widths"}});
  if (options.gumbel == nullptr) return;
  const GumbelNoise& gumbel = *options.gumbel;
  kCheck.tensor(gumbel.seed, "options.gumbel.seed", DType::kInt64, {batch});
  kCheck.tensor(gumbel.path, "options.gumbel.path", DType::kInt32,
                {batch, beams, {"level", input.level}});
  kCheck.tensor(gumbel.perturbed, "options.gumbel.perturbed", DType::kFloat32, {batch, beams});
  kCheck.one_device({{&input.logits, "logits"},
                     {&gumbel.seed, "options.gumbel.seed"},
                     {&gumbel.path, "options.gumbel.path"},
                     {&gumbel.perturbed, "options.gumbel.perturbed"}});
}

struct Output {
  const char* argument;
  const TensorView* tensor;  // null when absent
  DType dtype;
  bool per_beam;  // [batch, num_beams], else [batch]
};

std::array<Output, 7> outputs_of(const BeamStepOutput& output) {
  return {{{"out.scores", &output.scores, DType::kFloat32, true},
           {"out.parent_beam", &output.parent_beam, DType::kInt32, true},
           {"out.tokens", &output.tokens, DType::kInt32, true},
           {"out.node", &output.node, DType::kInt32, true},
           {"out.count", &output.count, DType::kInt32, false},
           {"out.best_dropped", &output.best_dropped, DType::kFloat32, false},
           {"out.perturbed", output.perturbed, DType::kFloat32, true}}};
}

// Tensors without elements have no memory to share.
bool shares_memory(const TensorView* a, const TensorView* b) {
  return a != nullptr && b != nullptr && a->data != nullptr && a->data == b->data;
}

}  // namespace

void check_constrained_beam_step(const BeamStepInput& input) {
  const Axis batch{"batch", input.logits.shape[0]};
  const Axis beams{"beam_in", input.logits.shape[1]};
  check_catalogues(input.catalogues, batch.size);
  check_search(input);
  check_beams(input, batch, beams);
  check_normalizer(input, batch, beams);
  if (input.filters.size > 1 && input.filters.size != batch.size) {
    kCheck.refuse("filter", one_per_request(batch.size),
                  std::to_string(input.filters.size) + " filters");
  }
  if (input.options != nullptr) check_options(input, batch, beams);
}

void check_beam_step_output(const BeamStepOutput& output) {
  const Axis batch{"batch", output.scores.shape[0]};
  const Axis beams{"num_beams", output.scores.shape[1]};
  const auto outputs = outputs_of(output);
  for (const Output& one : outputs) {
    if (one.tensor == nullptr) continue;
    if (one.per_beam) {
      kCheck.tensor(*one.tensor, one.argument, one.dtype, {batch, beams});
    } else {
      kCheck.tensor(*one.tensor, one.argument, one.dtype, {batch});
    }
    kCheck.writable(*one.tensor, one.argument);
    kCheck.one_device({{&output.scores, "out.scores"}, {one.tensor, one.argument}});
    for (const Output* other = outputs.data(); other != &one; ++other) {
      if (!shares_memory(one.tensor, other->tensor)) continue;
      kCheck.refuse("out", "memory of its own for each tensor", "memory shared",
                    "use BeamStepResult.empty");
    }
  }
}

void check_constrained_beam_step(const BeamStepInput& input, const BeamStepOutput& output) {
  check_constrained_beam_step(input);
  kCheck.tensor(output.scores, "out.scores", DType::kFloat32,
                {{"batch", input.logits.shape[0]}, {"num_beams", input.num_beams}});
  check_beam_step_output(output);
  kCheck.one_device({{&input.logits, "logits"}, {&output.scores, "out.scores"}});
  const bool noisy = input.options != nullptr && input.options->gumbel != nullptr;
  if (noisy && output.perturbed == nullptr) {
    kCheck.refuse("out.perturbed", "a tensor with options.gumbel", "none",
                  "use BeamStepResult.empty(..., perturbed=True)");
  }
  for (const Output& one : outputs_of(output)) {
    if (!shares_memory(one.tensor, &input.node) && !shares_memory(one.tensor, &input.beam_scores)) {
      continue;
    }
    kCheck.refuse("out", "memory of its own", "the memory of node or beam_scores",
                  "alternate between two results from step to step");
  }
}

}  // namespace onesearch
