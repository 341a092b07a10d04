// The loops over children, per tier.
#pragma once

#include <cstdint>

#include "core/dtype.h"
#include "cpu/isa.h"
#include "index/allowed_nodes.h"

namespace onesearch {

// The children of a beam's node, by ascending token.
struct ChildList {
  const void* tokens = nullptr;     // [size] of token_bytes each
  const uint32_t* nodes = nullptr;  // [size]; null: consecutive ones
  uint32_t first_node = 0;
  uint32_t size = 0;
  int token_bytes = 2;

  ONESEARCH_HD uint32_t node(uint32_t child) const {
    return nodes == nullptr ? first_node + child : nodes[child];
  }
  ONESEARCH_HD uint32_t token(uint32_t child) const {
    return token_bytes == 1 ? static_cast<const uint8_t*>(tokens)[child]
                            : static_cast<const uint16_t*>(tokens)[child];
  }
};

// What makes a score of a logit: beam_score + (logit - normalizer).
struct Scoring {
  float beam_score;
  float normalizer;
};

// A contiguous row of logits.
template <class T>
struct LogitRow {
  const T* at;
  uint32_t size;  // tokens at or past it lead nowhere
};

// Children that passed, in order of their tokens.
struct PassedChildren {
  static constexpr uint32_t kMost = 512;
  static constexpr uint32_t kSlack = 16;  // compressed stores write whole registers

  uint32_t size;
  float score[kMost + kSlack];
  uint32_t child[kMost + kSlack];
};

// Of children [begin, end), at most PassedChildren::kMost, those of finite score >= least.
template <class T>
using ScoreChildren = void (*)(const LogitRow<T>& row, const ChildList& children, uint32_t begin,
                               uint32_t end, Scoring scoring, float least, PassedChildren* passed);

struct ChildKernels {
  ScoreChildren<float> score_f32;
  ScoreChildren<BFloat16> score_bf16;
  ScoreChildren<Float16> score_f16;

  // Children of nodes of `level` in the base trie, node[i * stride] for i < n; fetches their
  // tokens.
  void (*find)(const SidTrieView& base, int level, const int32_t* node, int64_t stride, int64_t n,
               NodeRange* children);
  // Drops what the filter or death forbids.
  void (*keep_allowed)(const AllowedNodes& allowed, int child_level, const ChildList& children,
                       PassedChildren* passed);

  ScoreChildren<float> score(const float*) const { return score_f32; }
  ScoreChildren<BFloat16> score(const BFloat16*) const { return score_bf16; }
  ScoreChildren<Float16> score(const Float16*) const { return score_f16; }
};

ONESEARCH_TIER_TABLE(ChildKernels, child_kernels)

}  // namespace onesearch
