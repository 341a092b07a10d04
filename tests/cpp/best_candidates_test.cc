// Selection of the best candidates, against sorting all of them.
#include "ops/constrained_beam_step/best_candidates.h"

#include <algorithm>
#include <random>
#include <vector>

#include "check.h"

using namespace onesearch;

namespace {

// Keys in one of several orders; `distinct` of them differ.
std::vector<uint64_t> keys_of(size_t n, size_t distinct, int order) {
  std::vector<uint64_t> keys(n);
  for (size_t i = 0; i < n; ++i) {
    const auto place = static_cast<uint32_t>(i % distinct);
    keys[i] = candidate_key(static_cast<float>(place), 0, place);
  }
  std::sort(keys.begin(), keys.end());
  if (order == 1) std::reverse(keys.begin(), keys.end());
  if (order == 2) std::shuffle(keys.begin(), keys.end(), std::mt19937(static_cast<uint32_t>(n)));
  return keys;
}

void check_best(const std::vector<uint64_t>& keys, int64_t limit, size_t count) {
  SharedThreshold shared;
  BestCandidates best;
  best.reset(limit, &shared);
  for (const uint64_t key : keys) best.add({key, score_of(key), 0});
  const CandidateSpan found = best.finish(count);

  std::vector<uint64_t> sorted = keys;
  std::sort(sorted.rbegin(), sorted.rend());
  CHECK_EQUAL(found.size, std::min(count, keys.size()));
  for (size_t i = 0; i < found.size; ++i) CHECK_EQUAL(found.data[i].key, sorted[i]);
  if (keys.size() > count) CHECK_EQUAL(best.best_dropped(), score_of(sorted[count]));
}

}  // namespace

TEST(best_candidates_are_those_of_a_sort) {
  for (const size_t limit : {1, 2, 17, 129, 257}) {
    for (const size_t n : {size_t{0}, size_t{1}, limit, limit + 1, 2 * limit + 1, size_t{3000}}) {
      for (int order = 0; order < 3; ++order) {
        check_best(keys_of(n, 3001, order), static_cast<int64_t>(limit), limit - 1);
      }
    }
  }
}

TEST(candidates_of_any_number_are_sorted_best_first) {
  for (const size_t n : {0, 1, 2, 15, 16, 17, 31, 32, 33, 48, 64, 100, 256, 257, 1000}) {
    for (const size_t distinct : {n + 1, size_t{3}}) {
      std::vector<Candidate> from;
      for (const uint64_t key : keys_of(n, distinct, 2)) {
        from.push_back({key, score_of(key), static_cast<uint32_t>(from.size())});
      }
      std::vector<Candidate> expected = from;
      std::stable_sort(expected.begin(), expected.end(),
                       [](const Candidate& a, const Candidate& b) { return a.key > b.key; });
      std::vector<Candidate> to(n);
      const Candidate* const sorted = sort_best_first(from.data(), to.data(), n);
      for (size_t i = 0; i < n; ++i) {
        CHECK_EQUAL(sorted[i].key, expected[i].key);
        CHECK_EQUAL(sorted[i].node, expected[i].node);
      }
    }
  }
}

TEST(equal_keys_of_a_broken_catalogue_end) {
  SharedThreshold shared;
  BestCandidates best;
  best.reset(129, &shared);
  for (const uint64_t key : keys_of(3000, 1, 0)) best.add({key, score_of(key), 0});
  CHECK(best.finish(128).size <= 128);
}
