// Candidates, and putting them in order without branches on their keys, which are random: 257 take
// 0.4 of the time of std::sort.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace onesearch {

struct Candidate {
  uint64_t key;  // core/ranking.h, of what decides about survival
  float score;
  uint32_t node;
};

// Candidates in the memory of whoever found them.
struct CandidateSpan {
  const Candidate* data;
  size_t size;
};

constexpr size_t kRankedRun = 16;

// At most kRankedRun of them, best first, each to the place that the number of better ones tells.
inline void rank_into(const Candidate* from, size_t n, Candidate* to) {
  for (size_t i = 0; i < n; ++i) {
    const uint64_t key = from[i].key;
    size_t better = 0;
    for (size_t j = 0; j < i; ++j) better += from[j].key >= key;
    for (size_t j = i + 1; j < n; ++j) better += from[j].key > key;
    to[better] = from[i];
  }
}

// The sorted [a, b) and [b, end) in one, of any sizes.
inline void merge_into(const Candidate* a, const Candidate* b, const Candidate* end,
                       Candidate* to) {
  const Candidate* const a_end = b;
  while (a != a_end && b != end) {
    const bool left = a->key >= b->key;
    *to++ = *(left ? a : b);
    a += left;
    b += !left;
  }
  std::copy(b, end, std::copy(a, a_end, to));
}

// As merge_into, of two of `n` each: from both ends at once, so that the length of the loop is
// known and two chains of loads run side by side.
inline void merge_equals_into(const Candidate* a, size_t n, Candidate* to) {
  const Candidate* b = a + n;
  const Candidate* a_last = b - 1;
  const Candidate* b_last = b + n - 1;
  Candidate* to_last = to + 2 * n - 1;
  for (size_t i = 0; i < n; ++i) {
    const bool left = a->key >= b->key;
    *to++ = *(left ? a : b);
    a += left;
    b += !left;
    const bool right = b_last->key <= a_last->key;
    *to_last-- = *(right ? b_last : a_last);
    b_last -= right;
    a_last -= !right;
  }
}

// Best first, in one of the two memories of `n`: returns which.
inline Candidate* sort_best_first(Candidate* from, Candidate* to, size_t n) {
  for (size_t i = 0; i < n; i += kRankedRun) {
    rank_into(from + i, std::min(kRankedRun, n - i), to + i);
  }
  for (size_t run = kRankedRun; run < n; run *= 2) {
    std::swap(from, to);
    for (size_t i = 0; i < n; i += 2 * run) {
      const size_t middle = std::min(i + run, n);
      const size_t end = std::min(i + 2 * run, n);
      if (end - i == 2 * run) {
        merge_equals_into(from + i, run, to + i);
      } else {
        merge_into(from + i, from + middle, from + end, to + i);
      }
    }
  }
  return to;
}

}  // namespace onesearch
