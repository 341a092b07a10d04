#include "cpu/simd.h"
#include "ops/constrained_beam_step/child_kernels.h"

namespace onesearch::ONESEARCH_TIER {
namespace {

constexpr float kInfinity = __builtin_inff();
// Children that are looked at one by one: a gather takes as long for one logit as for sixteen.
constexpr uint32_t kFew = 4;

// Calls take(tokens, first child, lanes that hold a child) on sixteen children after the other.
template <class Token, class Take>
ONESEARCH_INLINE void for_each_sixteen(const Token* tokens, uint32_t begin, uint32_t end,
                                       Take take) {
  uint32_t at = begin;
  for (; at + kLanes <= end; at += kLanes) {
    take(U32x16::load(tokens + at), at, Mask16::first(kLanes));
  }
  const int rest = static_cast<int>(end - at);
  if (rest > 0) take(U32x16::load_first(tokens + at, rest), at, Mask16::first(rest));
}

template <class T, class Token>
ONESEARCH_INLINE uint32_t score_tokens(const LogitRow<T>& row, const Token* tokens, uint32_t begin,
                                       uint32_t end, Scoring scoring, float least,
                                       PassedChildren* passed) {
  const F32x16 beam_score = F32x16::broadcast(scoring.beam_score);
  const F32x16 normalizer = F32x16::broadcast(scoring.normalizer);
  const F32x16 lowest = F32x16::broadcast(least);
  const F32x16 infinity = F32x16::broadcast(kInfinity);
  const U32x16 size = U32x16::broadcast(row.size);
  uint32_t count = 0;
  for_each_sixteen(tokens, begin, end, [&](U32x16 token, uint32_t at, Mask16 real) {
    const Mask16 inside = real & (token < size);
    const F32x16 logits = gather(row.at, token, inside, -kInfinity);
    const F32x16 score = beam_score + (logits - normalizer);
    const Mask16 passes = (score >= lowest) & (score < infinity) & inside;
    if (!any(passes)) return;
    const U32x16 child = U32x16::iota() + U32x16::broadcast(at);
    compress_store(passed->child + count, passes, child);
    count += static_cast<uint32_t>(compress_store(passed->score + count, passes, score));
  });
  return count;
}

template <class T, class Token>
ONESEARCH_INLINE uint32_t score_few(const LogitRow<T>& row, const Token* tokens, uint32_t begin,
                                    uint32_t end, Scoring scoring, float least,
                                    PassedChildren* passed) {
  uint32_t count = 0;
  for (uint32_t child = begin; child < end; ++child) {
    if (tokens[child] >= row.size) continue;
    const float logit = to_float(row.at[tokens[child]]);
    const float score = scoring.beam_score + (logit - scoring.normalizer);
    passed->child[count] = child;
    passed->score[count] = score;
    count += score >= least && score < kInfinity;
  }
  return count;
}

template <class T, class Token>
void score_some(const LogitRow<T>& row, const Token* tokens, uint32_t begin, uint32_t end,
                Scoring scoring, float least, PassedChildren* passed) {
  passed->size = end - begin <= kFew
                     ? score_few(row, tokens, begin, end, scoring, least, passed)
                     : score_tokens(row, tokens, begin, end, scoring, least, passed);
}

template <class T>
void score(const LogitRow<T>& row, const ChildList& children, uint32_t begin, uint32_t end,
           Scoring scoring, float least, PassedChildren* passed) {
  if (children.token_bytes == 1) {
    const auto* tokens = static_cast<const uint8_t*>(children.tokens);
    score_some(row, tokens, begin, end, scoring, least, passed);
  } else {
    const auto* tokens = static_cast<const uint16_t*>(children.tokens);
    score_some(row, tokens, begin, end, scoring, least, passed);
  }
}

template <class Apply>
ONESEARCH_INLINE void for_each_part(const Partition& partition, const int32_t* node, int64_t stride,
                                    int64_t n, Apply apply) {
  for (int64_t i = 0; i < n; ++i) {
    const auto part = static_cast<uint32_t>(node[i * stride]);
    if (part < partition.num_parts) apply(part);
  }
}

// The look-ups of different nodes do not wait for one another, so that a thousand of them take
// little longer than a few. A look-up branches on what it reads: a wrong guess would keep the next
// one from being begun, so that memory is asked beforehand (level 2 of 4, 1M items, rows of logits
// from main memory: 0.93 of the time of a step).
void find(const SidTrieView& base, int level, const int32_t* node, int64_t stride, int64_t n,
          NodeRange* children) {
  const auto* tokens = static_cast<const uint8_t*>(base.child_token[level]);
  const auto token_bytes = static_cast<int64_t>(base.token_bytes(level));
  const Partition& partition = base.child_partition[level];
  for_each_part(partition, node, stride, n,
                [&](uint32_t part) { __builtin_prefetch(partition.first_read(part)); });
  for_each_part(partition, node, stride, n,
                [&](uint32_t part) { __builtin_prefetch(partition.second_read(part)); });
  for (int64_t i = 0; i < n; ++i) {
    children[i] = base.children(level, node[i * stride]);
    __builtin_prefetch(tokens + token_bytes * children[i].begin);
  }
}

void keep_allowed(const AllowedNodes& allowed, int child_level, const ChildList& children,
                  PassedChildren* passed) {
  uint32_t kept = 0;
  for (uint32_t i = 0; i < passed->size; ++i) {
    const uint32_t child = passed->child[i];
    passed->score[kept] = passed->score[i];
    passed->child[kept] = child;
    kept += allowed.any(child_level, children.node(child));
  }
  passed->size = kept;
}

}  // namespace

extern const ChildKernels child_kernels{
    &score<float>, &score<BFloat16>, &score<Float16>, &find, &keep_allowed,
};

}  // namespace onesearch::ONESEARCH_TIER
