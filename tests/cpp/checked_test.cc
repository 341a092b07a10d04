// A checked build refuses what any other takes for a dead beam.
#include <cmath>
#include <limits>

#include "beam_step.h"
#include "catalogue.h"
#include "check.h"
#include "core/error.h"

using namespace onesearch;
using namespace onesearch::testing;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::shared_ptr<const SidTrie> some_trie() {
  return SidTrie::build(random_catalogue(3, {50, 40, 30}, 3000).input());
}

}  // namespace

TEST(nan_and_infinity_in_logits_are_refused) {
  const auto trie = some_trie();
  for (const Normalizer normalizer : {Normalizer::kLevel, Normalizer::kNone}) {
    for (const float bad : {kInfinity, std::nanf("")}) {
      Step step(9, trie->catalogue_view(), 1, 2, 3, 20, normalizer);
      step.node = {0, 1, 2, 3, 4, 5};
      step.logits[5 * 40 + 39] = bad;
      CHECK_THROWS(InvalidArgument, "logits: expected neither NaN nor +inf, got one at [1, 2]",
                   step.run());
      step.node[5] = -1;  // nobody reads the row of a dead beam
      step.run();
      CHECK_EQUAL(step.count[1], 20);
    }
  }
}

TEST(nan_and_infinity_as_normalizer_are_refused) {
  const auto trie = some_trie();
  for (const float bad : {kInfinity, std::nanf("")}) {
    Step step(9, trie->catalogue_view(), 1, 1, 3, 20, Normalizer::kVocab);
    step.node = {0, 1, 2};
    step.log_normalizer[1] = bad;
    CHECK_THROWS(InvalidArgument,
                 "log_normalizer: expected neither NaN nor +inf, got one at [0, 1]", step.run());
  }
}

TEST(minus_infinity_is_no_error) {
  const auto trie = some_trie();
  Step step(9, trie->catalogue_view(), 1, 1, 3, 200, Normalizer::kChildren);
  step.node = {0, 1, 2};
  for (int token = 0; token < 40; ++token) step.logits[token] = -kInfinity;
  step.run();
  CHECK(step.count[0] > 0);
  for (int64_t i = 0; i < step.count[0]; ++i) CHECK(step.parent_beam[i] != 0);
}
