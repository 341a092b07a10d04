// One level of a trie-constrained beam search, for a batch of requests.
//
// For beam i of a request and every child token t of node[i] below which an item lives:
//     score(i, t) = beam_scores[i] + (logits[i, t] - normaliser(i))      in float32
// The num_beams candidates (finite scores, some allowed item below) of greatest key survive, in the
// order of core/ranking.h. Without options the key is the score.
#pragma once

#include "core/tensor_view.h"
#include "index/catalogue_view.h"

namespace onesearch {

// The numbers are those that the Python side passes.
enum class Normalizer : int {
  kLevel = 0,     // log-sum-exp of the row
  kChildren = 1,  // log-sum-exp over the children of the node, before filters
  kNone = 2,      // 0
  kVocab = 3,     // log_normalizer
};

// One for all requests, one (or null) for each, or none.
template <class T>
struct PerRequest {
  const T* const* items = nullptr;
  int64_t size = 0;

  const T* of(int64_t request) const {
    return size == 0 ? nullptr : items[size == 1 ? 0 : request];
  }
};

// Stochastic beams: Gumbel top-k without replacement (Kool et al. 2019, arXiv 1903.06059). The key
// of a candidate is its weight plus noise, conditioned on the greatest among its siblings being the
// key of their parent. Noise depends on the request's seed and the candidate's codes alone.
struct GumbelNoise {
  TensorView seed;       // [batch] int64
  TensorView path;       // [batch, beam_in, level] int32, the codes that lead to each beam
  TensorView perturbed;  // [batch, beam_in] float32, the beams' own keys; 0 at level 0
};

// What else decides who survives, in this order:
//     weight = score + node_prior[child] - sibling_penalty * rank among siblings by score, from 0
//     key = weight, or with noise the perturbed weight
//     of each parent's candidates, only the max_children_per_parent of greatest key take part
//     of each request's candidates, beam_widths[request] survive
// Siblings are candidates of one parent; ties among them go to the lower token.
struct BeamStepOptions {
  const TensorView* node_prior = nullptr;   // [num_nodes(level + 1)] float32; one catalogue only
  int64_t max_children_per_parent = 0;      // 0: any number
  float sibling_penalty = 0.0f;             // not negative
  const TensorView* beam_widths = nullptr;  // [batch] int32, 1 to num_beams
  const GumbelNoise* gumbel = nullptr;
};

struct BeamStepInput {
  // [batch, beam_in, level_sizes[level]] float32, bfloat16 or float16, any strides
  TensorView logits;
  TensorView node;         // [batch, beam_in] int32, nodes of `level`; out of range: dead beam
  TensorView beam_scores;  // [batch, beam_in] float32
  const TensorView* log_normalizer = nullptr;  // [batch, beam_in] float32, for kVocab only
  PerRequest<CatalogueView> catalogues;        // of equal level sizes
  PerRequest<CatalogueFilterView> filters;     // each of its request's catalogue
  int64_t num_beams = 0;                       // 1 to 65536
  int level = 0;
  Normalizer normalizer = Normalizer::kLevel;
  const BeamStepOptions* options = nullptr;
};

// Best first; entries at or past count are -inf, -1, -1, -1. Shares no memory with the input.
struct BeamStepOutput {
  TensorView scores;        // [batch, num_beams] float32
  TensorView parent_beam;   // [batch, num_beams] int32
  TensorView tokens;        // [batch, num_beams] int32
  TensorView node;          // [batch, num_beams] int32, nodes of level + 1
  TensorView count;         // [batch] int32
  TensorView best_dropped;  // [batch] float32, the best score of a candidate that did not survive,
                            // or of a beam whose row is dead and below which an allowed item lives
  const TensorView* perturbed = nullptr;  // [batch, num_beams] float32, the keys; with noise only
};

// A row is dead that holds NaN or +inf (with kVocab, whose caller has read it, it is not looked at)
// or whose normaliser is not finite. In a build with ONESEARCH_CHECKED, NaN and +inf in either are
// InvalidArgument. The same bits for a request, whatever its neighbours in the batch and the number
// of threads. Cost: one read of the logits of beams that can still contribute (none with kVocab),
// then the children of those beams.
void constrained_beam_step(const BeamStepInput& input, const BeamStepOutput& output);

}  // namespace onesearch
