#include "beam_step.h"

#include <cstring>
#include <vector>

#include "catalogue.h"
#include "check.h"
#include "core/error.h"
#include "cpu/thread_pool.h"
#include "index/item_filter.h"
#include "tiers.h"

using namespace onesearch;
using namespace onesearch::testing;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr Normalizer kNormalizers[] = {Normalizer::kLevel, Normalizer::kChildren, Normalizer::kNone,
                                       Normalizer::kVocab};

std::shared_ptr<const SidTrie> some_trie() {
  return SidTrie::build(random_catalogue(3, {50, 40, 30}, 3000).input());
}

}  // namespace

TEST_ON_EVERY_TIER(the_step_is_brute_force) {
  const auto trie = some_trie();
  uint32_t seed = 1;
  for (const Normalizer normalizer : kNormalizers) {
    for (int level = 0; level < 3; ++level) {
      for (const int64_t num_beams : {1, 7, 300, 5000}) {
        Step step(seed++, trie->catalogue_view(), level, 3, level == 0 ? 1 : 12, num_beams,
                  normalizer);
        step.run();
        check_step(step);
      }
    }
  }
}

TEST_ON_EVERY_TIER(a_filtered_step_is_filtered_brute_force) {
  const RandomCatalogue catalogue = random_catalogue(3, {50, 40, 30}, 3000);
  const auto trie = SidTrie::build(catalogue.input());
  std::vector<std::shared_ptr<const ItemFilter>> filters;
  for (const int64_t num_ids : {0, 3, 1500}) {
    const ItemSelection allow{nullptr, catalogue.ids.data(), num_ids};
    filters.push_back(ItemFilter::make(trie, &allow, nullptr));
  }
  const std::vector<CatalogueFilterView> views = {filters[0]->view(), filters[1]->view(),
                                                  filters[2]->view()};
  uint32_t seed = 100;
  for (const Normalizer normalizer : kNormalizers) {
    for (int level = 0; level < 3; ++level) {
      Step each(seed++, trie->catalogue_view(), level, 4, level == 0 ? 1 : 12, 20, normalizer);
      const CatalogueFilterView* one_each[] = {&views[0], &views[1], &views[2], nullptr};
      each.input.filters = {one_each, 4};
      each.run();
      check_step(each);
      Step shared(seed++, trie->catalogue_view(), level, 4, level == 0 ? 1 : 12, 20, normalizer);
      shared.input.filters = {one_each + 1, 1};
      shared.run();
      check_step(shared);
    }
  }
}

TEST_ON_EVERY_TIER(ties_go_to_the_lower_parent_then_the_lower_token) {
  const auto trie = some_trie();
  Step step(1, trie->catalogue_view(), 1, 1, 10, 25, Normalizer::kNone);
  std::fill(step.logits.begin(), step.logits.end(), 0.5f);
  std::fill(step.beam_scores.begin(), step.beam_scores.end(), -1.0f);
  step.run();
  check_step(step);
}

TEST_ON_EVERY_TIER(strides_of_every_axis_are_followed) {
  const auto trie = some_trie();
  Step plain(5, trie->catalogue_view(), 1, 2, 6, 9, Normalizer::kLevel);
  plain.run();
  Step strided(5, trie->catalogue_view(), 1, 2, 6, 9, Normalizer::kLevel);
  std::vector<float> spread(40 * 6 * 2 * 3, kInfinity);
  TensorView& logits = strided.input.logits;
  logits.data = spread.data();
  logits.strides = {3, 6, 36};  // codes slowest, then beams, then requests
  for (int64_t i = 0; i < 2; ++i) {
    for (int64_t j = 0; j < 6; ++j) {
      for (int64_t k = 0; k < 40; ++k) {
        *logits.at<float>(i, j, k) = plain.logits[(i * 6 + j) * 40 + k];
      }
    }
  }
  strided.run();
  CHECK(plain.bits() == strided.bits());
}

TEST_ON_EVERY_TIER(half_width_logits_are_widened_exactly) {
  const auto trie = some_trie();
  for (const bool brain : {true, false}) {
    Step wide(7, trie->catalogue_view(), 1, 2, 6, 9, Normalizer::kLevel);
    std::vector<uint16_t> narrow;
    for (float& logit : wide.logits) {
      // Truncation to 6 mantissa bits is exact in both formats.
      logit = float_from_bits(bits_from_float(logit) & 0xfffe0000u);
      const uint32_t bits = bits_from_float(logit);
      const uint32_t exponent = (bits >> 23 & 255) - 112;
      const uint32_t half = (bits >> 31) << 15 | exponent << 10 | (bits >> 13 & 1023);
      if (!brain && static_cast<int32_t>(exponent) <= 0) logit = 0.0f;
      narrow.push_back(brain           ? static_cast<uint16_t>(bits >> 16)
                       : logit == 0.0f ? uint16_t{0}
                                       : static_cast<uint16_t>(half));
    }
    wide.run();
    const auto expected = wide.bits();
    wide.input.logits.data = narrow.data();
    wide.input.logits.dtype = brain ? DType::kBFloat16 : DType::kFloat16;
    wide.run();
    CHECK(wide.bits() == expected);
  }
}

#if !defined(ONESEARCH_CHECKED)  // checked_test.cc tells what holds there
TEST_ON_EVERY_TIER(rows_with_nan_or_infinity_are_dead) {
  const auto trie = some_trie();
  for (const Normalizer normalizer :
       {Normalizer::kLevel, Normalizer::kChildren, Normalizer::kNone}) {
    for (const float bad : {kInfinity, std::nanf("")}) {
      Step step(9, trie->catalogue_view(), 1, 1, 3, 200, normalizer);
      step.node = {0, 1, 2};
      step.logits[40 + 39] = bad;
      step.run();
      bool others = false;
      for (int64_t i = 0; i < step.count[0]; ++i) {
        CHECK(step.parent_beam[i] != 1);
        others = others || step.parent_beam[i] == 2;
      }
      CHECK(others);
    }
  }
}

// Also where the threshold spares reading them, which depends on the threads.
TEST_ON_EVERY_TIER(what_dead_rows_lose_is_dropped_for_any_number_of_threads) {
  const auto trie = SidTrie::build(random_catalogue(3, {200, 3000, 30}, 50000).input());
  for (const Normalizer normalizer : {Normalizer::kLevel, Normalizer::kChildren}) {
    for (const int64_t every : {1, 2, 60}) {
      Step step(23, trie->catalogue_view(), 1, 1, 200, 150, normalizer);
      for (int64_t beam = every - 1; beam < 200; beam += every) {
        std::fill_n(step.logits.begin() + beam * 3000, 3000, std::nanf(""));
      }
      set_num_threads(1);
      step.run();
      check_step(step);
      const auto expected = step.bits();
      for (const int threads : {2, 8}) {
        set_num_threads(threads);
        step.run();
        CHECK(step.bits() == expected);
      }
    }
  }
}

TEST_ON_EVERY_TIER(a_given_normalizer_speaks_for_its_row) {
  const auto trie = some_trie();
  for (const float bad : {kInfinity, std::nanf("")}) {
    Step step(9, trie->catalogue_view(), 1, 1, 1, 200, Normalizer::kVocab);
    step.node = {1};
    std::fill(step.logits.begin(), step.logits.begin() + 20, bad);
    step.run();
    CHECK(step.count[0] > 0);
    for (int64_t i = 0; i < step.count[0]; ++i) CHECK(step.tokens[i] >= 20);
  }
}
#endif

TEST_ON_EVERY_TIER(minus_infinity_is_never_selected) {
  const auto trie = some_trie();
  for (const Normalizer normalizer : kNormalizers) {
    Step step(11, trie->catalogue_view(), 1, 1, 3, 200, normalizer);
    step.node = {0, 1, 2};
    for (int token = 0; token < 40; ++token) {
      step.logits[token] = -kInfinity;  // nothing left of beam 0
      if (token % 2 == 0) step.logits[40 + token] = -kInfinity;
    }
    step.beam_scores[2] = -kInfinity;
    step.run();
    CHECK(step.count[0] > 0);
    for (int64_t i = 0; i < step.count[0]; ++i) {
      CHECK_EQUAL(step.parent_beam[i], 1);
      CHECK_EQUAL(step.tokens[i] % 2, 1);
      CHECK(std::isfinite(step.scores[i]));
    }
  }
}

#if !defined(ONESEARCH_CHECKED)
TEST(a_log_normalizer_that_is_not_finite_kills_its_beam) {
  const auto trie = some_trie();
  Step step(13, trie->catalogue_view(), 1, 1, 4, 200, Normalizer::kVocab);
  step.node = {0, 1, 2, 3};
  step.log_normalizer = {kInfinity, -kInfinity, std::nanf(""), 1.0f};
  step.run();
  CHECK(step.count[0] > 0);
  for (int64_t i = 0; i < step.count[0]; ++i) CHECK_EQUAL(step.parent_beam[i], 3);
}
#endif

TEST_ON_EVERY_TIER(bits_do_not_depend_on_threads_or_neighbours) {
  const auto trie = SidTrie::build(random_catalogue(3, {2000, 40, 30}, 5000).input());
  Step whole(17, trie->catalogue_view(), 1, 8, 500, 100, Normalizer::kLevel);
  set_num_threads(1);
  whole.run();
  const auto expected = whole.bits();
  for (const int threads : {2, 5}) {
    set_num_threads(threads);
    whole.run();
    CHECK(whole.bits() == expected);
  }
  for (int64_t request = 0; request < 8; ++request) {
    Step one(17, trie->catalogue_view(), 1, 8, 500, 100, Normalizer::kLevel);
    one.input.logits.data = one.input.logits.at<float>(request);
    one.input.node.data = one.input.node.at<int32_t>(request);
    one.input.beam_scores.data = one.input.beam_scores.at<float>(request);
    for (TensorView* view : {&one.input.logits, &one.input.node, &one.input.beam_scores,
                             &one.output.scores, &one.output.parent_beam, &one.output.tokens,
                             &one.output.node, &one.output.count, &one.output.best_dropped}) {
      view->shape[0] = 1;
    }
    one.run();
    const float* from = whole.scores.data() + request * 100;
    CHECK(std::memcmp(one.scores.data(), from, 100 * sizeof(float)) == 0);
    CHECK_EQUAL(one.best_dropped[0], whole.best_dropped[request]);
  }
}

// One request with work for many threads: its beams are shared out and merged.
TEST_ON_EVERY_TIER(one_request_is_the_same_for_any_number_of_threads) {
  const auto trie = SidTrie::build(random_catalogue(3, {200, 3000, 30}, 50000).input());
  for (const Normalizer normalizer : kNormalizers) {
    Step step(23, trie->catalogue_view(), 1, 1, 200, 150, normalizer);
    set_num_threads(1);
    step.run();
    check_step(step);
    const auto expected = step.bits();
    for (const int threads : {2, 3, 8}) {
      set_num_threads(threads);
      for (int repeat = 0; repeat < 5; ++repeat) {
        step.run();
        CHECK(step.bits() == expected);
      }
    }
  }
}

TEST(wide_tiers_give_the_same_bits) {
  if (usable_tiers().back() != IsaTier::kAvx512) return;
  const auto trie = SidTrie::build(random_catalogue(3, {300, 500, 30}, 50000).input());
  uint32_t seed = 31;
  for (const Normalizer normalizer : kNormalizers) {
    for (int level = 0; level < 3; ++level) {
      Step step(seed++, trie->catalogue_view(), level, 2, level == 0 ? 1 : 50, 60, normalizer);
      set_isa_tier(IsaTier::kAvx2);
      step.run();
      const auto expected = step.bits();
      set_isa_tier(IsaTier::kAvx512);
      step.run();
      CHECK(step.bits() == expected);
    }
  }
}

// Parents out of order, and one far above the others.
TEST_ON_EVERY_TIER(parents_may_come_in_any_order) {
  const auto trie = some_trie();
  for (const int64_t num_beams : {1, 5, 40}) {
    Step step(41, trie->catalogue_view(), 1, 3, 30, num_beams, Normalizer::kLevel);
    for (int64_t request = 0; request < 3; ++request) step.beam_scores[request * 30 + 17] = 100.0f;
    step.run();
    check_step(step);
  }
}

TEST(an_empty_batch_is_no_work) {
  const auto trie = some_trie();
  Step step(19, trie->catalogue_view(), 1, 0, 4, 5, Normalizer::kLevel);
  step.run();
  CHECK_EQUAL(step.count.size(), size_t{0});
}

TEST(bad_arguments_are_refused) {
  const auto trie = some_trie();
  const auto refused = [&](const char* part, const auto& spoil) {
    Step step(21, trie->catalogue_view(), 1, 2, 4, 5, Normalizer::kLevel);
    spoil(step);
    CHECK_THROWS(InvalidArgument, part, step.run());
  };
  const auto mistyped = [&](const char* part, const auto& spoil) {
    Step step(21, trie->catalogue_view(), 1, 2, 4, 5, Normalizer::kLevel);
    spoil(step);
    CHECK_THROWS(TypeMismatch, part, step.run());
  };
  refused("num_beams: expected 1 to 65536, got 0", [](Step& s) { s.input.num_beams = 0; });
  refused("num_beams", [](Step& s) { s.input.num_beams = 65537; });
  refused("level: expected a level of the trie, in [0, 3), got 3",
          [](Step& s) { s.input.level = 3; });
  refused("level", [](Step& s) { s.input.level = -1; });
  refused("normalizer", [](Step& s) { s.input.normalizer = static_cast<Normalizer>(4); });
  refused("log_normalizer", [](Step& s) { s.input.normalizer = Normalizer::kVocab; });
  refused("log_normalizer", [](Step& s) { s.input.log_normalizer = &s.log_normalizer_view; });
  refused("[batch, beam_in, code] = [2, 4, 40], got [2, 4, 39]",
          [](Step& s) { s.input.logits.shape[2] = 39; });
  refused("1 to 1 beams a request at level 0", [](Step& s) {
    s.input.level = 0;
    s.input.logits.shape[2] = 50;
  });
  refused("1 to 65536 beams", [](Step& s) { s.input.logits.shape[1] = 0; });
  refused("node: expected [batch, beam_in] = [2, 4], got [2, 3]",
          [](Step& s) { s.input.node.shape[1] = 3; });
  refused("out.scores: expected [batch, num_beams] = [2, 5], got [2, 6]",
          [](Step& s) { s.output.scores.shape[1] = 6; });
  refused("count: expected writable", [](Step& s) { s.output.count.read_only = true; });
  refused("logits: expected a CPU or CUDA tensor",
          [](Step& s) { s.input.logits.device = Device::kOther; });
  refused("tokens: expected a tensor on the device of out.scores",
          [](Step& s) { s.output.tokens.device = Device::kCuda; });
  refused("node: expected a tensor on the device of logits",
          [](Step& s) { s.input.node.device_index = 1; });
  refused("logits: expected a CPU tensor", [](Step& s) { s.all_on(Device::kCuda); });
  const CatalogueFilterView* const three[3] = {};
  refused("filter: expected one, or one per request (2), got 3 filters",
          [&](Step& s) { s.input.filters = {three, 3}; });
  mistyped("logits: expected float32, bfloat16 or float16, got float64",
           [](Step& s) { s.input.logits.dtype = DType::kFloat64; });
  mistyped("node: expected int32, got int64", [](Step& s) { s.input.node.dtype = DType::kInt64; });
  mistyped("count: expected int32", [](Step& s) { s.output.count.dtype = DType::kFloat32; });
}
