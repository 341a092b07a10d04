// One level of a trie-constrained beam search, for a batch of requests.
//
// For beam i of a request and every child token t of node[i]:
//     score(i, t) = beam_scores[i] + (logits[i, t] - normaliser(i))      in float32
// The num_beams greatest finite scores of a request survive, in the order of core/ranking.h.
#pragma once

#include <vector>

#include "core/tensor_view.h"
#include "index/item_filter_view.h"
#include "index/sid_trie_view.h"

namespace onesearch {

// The numbers are those that the Python side passes.
enum class Normalizer : int {
  kLevel = 0,     // log-sum-exp of the row
  kChildren = 1,  // log-sum-exp over the children of the node, before filters
  kNone = 2,      // 0
  kVocab = 3,     // log_normalizer
};

struct BeamStepInput {
  // [batch, beam_in, level_sizes[level]] float32, bfloat16 or float16, any strides
  TensorView logits;
  TensorView node;         // [batch, beam_in] int32, nodes of `level`; out of range: dead beam
  TensorView beam_scores;  // [batch, beam_in] float32
  const TensorView* log_normalizer = nullptr;  // [batch, beam_in] float32, for kVocab only
  SidTrieView trie;
  std::vector<const ItemFilterView*> filters;  // none, one for all, or one (or null) a request
  int64_t num_beams = 0;                       // 1 to 65536
  int level = 0;
  Normalizer normalizer = Normalizer::kLevel;
};

// Best first; entries at or past count are -inf, -1, -1, -1. May share memory with node and
// beam_scores, not with logits.
struct BeamStepOutput {
  TensorView scores;       // [batch, num_beams] float32
  TensorView parent_beam;  // [batch, num_beams] int32
  TensorView tokens;       // [batch, num_beams] int32
  TensorView node;         // [batch, num_beams] int32, nodes of level + 1
  TensorView count;        // [batch] int32
};

// A row that holds NaN or +inf is dead, for every normaliser; with kVocab also one whose
// log_normalizer is not finite. In a build with ONESEARCH_CHECKED, NaN and +inf in either are
// InvalidArgument. The same bits for a request, whatever its neighbours in the batch
// and the number of threads. Cost: one read of the logits, then the children of live beams.
void constrained_beam_step(const BeamStepInput& input, const BeamStepOutput& output);

}  // namespace onesearch
