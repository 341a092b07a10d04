// Priors, quotas, penalties, noise and widths of the trie step against brute force.
#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <vector>

#include "beam_step.h"
#include "catalogue.h"
#include "check.h"
#include "core/error.h"
#include "cpu/thread_pool.h"
#include "index/item_filter.h"
#include "tiers.h"

using namespace onesearch;
using namespace onesearch::testing;

namespace {

constexpr int kLevel = 1;

// A step of level 1 under options, with the memory of these.
struct RuledStep {
  std::shared_ptr<const SidTrie> trie =
      SidTrie::build(random_catalogue(3, {50, 40, 30}, 3000).input());
  Step step;
  BeamStepOptions options;
  std::vector<float> prior;
  TensorView prior_view;
  std::vector<int32_t> widths;
  TensorView widths_view;
  std::vector<int64_t> seed;
  std::vector<int32_t> path;
  std::vector<float> perturbed;
  GumbelNoise gumbel;

  explicit RuledStep(uint32_t number, int64_t num_beams = 20)
      : step(number, trie->catalogue_view(), kLevel, 3, 12, num_beams, Normalizer::kLevel) {
    step.input.options = &options;
  }

  RuledStep& with_prior() {
    std::mt19937 random(5);
    prior.resize(step.catalogue.num_nodes(kLevel + 1));
    for (float& x : prior) x = std::normal_distribution<float>(0.0f, 2.0f)(random);
    prior_view = tensor(prior, DType::kFloat32, {static_cast<int64_t>(prior.size())});
    options.node_prior = &prior_view;
    return *this;
  }

  RuledStep& with_widths(std::vector<int32_t> chosen) {
    widths = std::move(chosen);
    widths_view = tensor(widths, DType::kInt32, {3});
    options.beam_widths = &widths_view;
    return *this;
  }

  RuledStep& with_noise() {
    std::mt19937 random(6);
    seed = {17, -1, 17};
    for (int64_t i = 0; i < step.batch * step.beams; ++i) {
      path.push_back(static_cast<int32_t>(random() % 50));
      perturbed.push_back(std::normal_distribution<float>(0.0f, 2.0f)(random));
    }
    gumbel = {tensor(seed, DType::kInt64, {3}),
              tensor(path, DType::kInt32, {step.batch, step.beams, kLevel}),
              tensor(perturbed, DType::kFloat32, {step.batch, step.beams})};
    options.gumbel = &gumbel;
    step.input.normalizer = Normalizer::kNone;
    step.want_perturbed();
    return *this;
  }

  void check() {
    step.run();
    check_step(step);
  }
};

}  // namespace

TEST_ON_EVERY_TIER(each_option_is_brute_force) {
  for (const int64_t num_beams : {1, 20, 1000}) {
    RuledStep(1, num_beams).check();
    RuledStep(2, num_beams).with_prior().check();
    RuledStep(3, num_beams).with_noise().check();
    for (const int64_t quota : {1, 3, 100}) {
      RuledStep ruled(4, num_beams);
      ruled.options.max_children_per_parent = quota;
      ruled.check();
    }
    for (const float penalty : {0.01f, 0.7f, 50.0f}) {
      RuledStep ruled(5, num_beams);
      ruled.options.sibling_penalty = penalty;
      ruled.check();
    }
  }
  RuledStep(6).with_widths({1, 20, 7}).check();
}

TEST_ON_EVERY_TIER(options_combine) {
  for (uint32_t seed = 0; seed < 16; ++seed) {
    RuledStep ruled(100 + seed);
    if ((seed & 1) != 0) ruled.with_prior();
    if ((seed & 2) != 0) ruled.with_noise();
    if ((seed & 4) != 0) ruled.options.max_children_per_parent = 2;
    if ((seed & 8) != 0) ruled.options.sibling_penalty = 0.5f;
    ruled.with_widths({20, 3, 11}).check();
  }
}

TEST_ON_EVERY_TIER(options_see_only_what_a_filter_lets_through) {
  const RandomCatalogue catalogue = random_catalogue(3, {50, 40, 30}, 3000);
  RuledStep ruled(7);
  ruled.options.sibling_penalty = 0.5f;
  ruled.options.max_children_per_parent = 2;
  const ItemSelection allow{nullptr, catalogue.ids.data(), 1500};
  const auto filter = ItemFilter::make(ruled.trie, &allow, nullptr);
  const CatalogueFilterView view = filter->view();
  const CatalogueFilterView* const filters[] = {&view};
  ruled.step.input.filters = {filters, 1};
  ruled.check();
}

TEST_ON_EVERY_TIER(no_option_changes_nothing) {
  RuledStep ruled(8);
  ruled.step.run();
  const auto expected = ruled.step.bits();
  ruled.step.input.options = nullptr;
  ruled.step.run();
  CHECK(ruled.step.bits() == expected);
}

TEST_ON_EVERY_TIER(options_do_not_depend_on_threads) {
  for (const bool noise : {false, true}) {
    RuledStep ruled(9);
    ruled.options.sibling_penalty = 0.3f;
    ruled.options.max_children_per_parent = 4;
    if (noise) ruled.with_noise();
    set_num_threads(1);
    ruled.step.run();
    const auto expected = ruled.step.bits();
    for (const int threads : {2, 7}) {
      set_num_threads(threads);
      ruled.step.run();
      CHECK(ruled.step.bits() == expected);
    }
  }
}

TEST(weights_that_are_not_finite_make_no_candidates) {
  RuledStep ruled(10, 1000);
  ruled.with_prior();
  for (size_t node = 0; node < ruled.prior.size(); ++node) {
    if (node % 3 == 0) ruled.prior[node] = -std::numeric_limits<float>::infinity();
    if (node % 3 == 1) ruled.prior[node] = std::nanf("");
  }
  ruled.step.run();
  CHECK(ruled.step.count[0] > 0);
  for (int32_t i = 0; i < ruled.step.count[0]; ++i) CHECK_EQUAL(ruled.step.node_out[i] % 3, 2);
  CHECK_EQUAL(ruled.step.best_dropped[0], -std::numeric_limits<float>::infinity());
}

TEST(a_beam_without_a_finite_key_is_dead_under_noise) {
  RuledStep ruled(11, 1000);
  ruled.with_noise();
  std::fill(ruled.step.node.begin(), ruled.step.node.end(), 1);
  ruled.perturbed[0] = -std::numeric_limits<float>::infinity();
  ruled.perturbed[1] = std::nanf("");
  ruled.step.run();
  CHECK(ruled.step.count[0] > 0);
  for (int32_t i = 0; i < ruled.step.count[0]; ++i) CHECK(ruled.step.parent_beam[i] > 1);
}

// The first survivor of Gumbel top-k is a sample of the softmax over the candidates.
TEST(noise_samples_in_proportion) {
  const auto trie = SidTrie::build(random_catalogue(1, {4, 4}, 200).input());
  Step step(1, trie->catalogue_view(), 0, 1, 1, 1, Normalizer::kLevel);
  step.logits = {0.0f, 1.0f, 2.0f, -1.0f};
  step.beam_scores = {0.0f};
  step.want_perturbed();
  std::vector<int64_t> seed(1);
  std::vector<int32_t> path;
  std::vector<float> perturbed(1, 0.0f);
  const GumbelNoise gumbel{tensor(seed, DType::kInt64, {1}), tensor(path, DType::kInt32, {1, 1, 0}),
                           tensor(perturbed, DType::kFloat32, {1, 1})};
  BeamStepOptions options;
  options.gumbel = &gumbel;
  step.input.options = &options;
  std::map<int32_t, double> share;
  constexpr int kDraws = 20000;
  for (int draw = 0; draw < kDraws; ++draw) {
    seed[0] = draw;
    step.run();
    CHECK(step.perturbed[0] == 0.0f);
    share[step.tokens[0]] += 1.0 / kDraws;
  }
  const double total = std::exp(0.0) + std::exp(1.0) + std::exp(2.0) + std::exp(-1.0);
  for (int32_t token = 0; token < 4; ++token) {
    CHECK(std::abs(share[token] - std::exp(step.logits[token]) / total) < 0.015);
  }
}

TEST(bad_options_are_refused) {
  const auto refused = [](const char* part, const auto& spoil) {
    RuledStep ruled(12);
    ruled.with_prior().with_noise().with_widths({1, 2, 3});
    spoil(ruled);
    CHECK_THROWS(InvalidArgument, part, ruled.step.run());
  };
  refused("options.node_prior: expected [node] = ",
          [](RuledStep& r) { r.prior_view.shape[0] -= 1; });
  refused("options.max_children_per_parent: expected at least 1, got -1",
          [](RuledStep& r) { r.options.max_children_per_parent = -1; });
  for (const float penalty : {-1.0f, std::nanf(""), std::numeric_limits<float>::infinity()}) {
    refused("options.sibling_penalty: expected a finite number from 0 on",
            [&](RuledStep& r) { r.options.sibling_penalty = penalty; });
  }
  refused("options.beam_widths: expected 1 to num_beams (20), got 21 for request 1",
          [](RuledStep& r) { r.widths[1] = 21; });
  refused("options.beam_widths: expected 1 to num_beams (20), got 0",
          [](RuledStep& r) { r.widths[2] = 0; });
  refused("options.gumbel.path: expected [batch, beam_in, level] = [3, 12, 1], got [3, 12, 2]",
          [](RuledStep& r) { r.gumbel.path.shape[2] = 2; });
  refused("out.perturbed: expected a tensor with options.gumbel",
          [](RuledStep& r) { r.step.output.perturbed = nullptr; });
  RuledStep ruled(12);
  ruled.with_prior();
  const CatalogueView* const three[] = {&ruled.step.catalogue, &ruled.step.catalogue,
                                        &ruled.step.catalogue};
  ruled.step.input.catalogues = {three, 3};
  CHECK_THROWS(InvalidArgument, "options.node_prior: expected one trie for all requests",
               ruled.step.run());
}
