// A search over a live store's snapshot against one over a trie freshly built of its items.
#include <algorithm>
#include <numeric>
#include <random>
#include <vector>

#include "beam_step.h"
#include "catalogue.h"
#include "changed_catalogue.h"
#include "check.h"
#include "index/item_filter.h"
#include "index/live_store.h"
#include "tiers.h"

using namespace onesearch;
using namespace onesearch::testing;

namespace {

constexpr Normalizer kNormalizers[] = {Normalizer::kLevel, Normalizer::kChildren, Normalizer::kNone,
                                       Normalizer::kVocab};

// Searches both level by level, with the same logits for the same beams.
void check_search(const ChangedCatalogue& changed, Normalizer normalizer, int64_t num_beams,
                  const CatalogueFilterView* snapshot_filter,
                  const CatalogueFilterView* fresh_filter) {
  constexpr int64_t kBatch = 2;
  std::vector<int32_t> nodes[2];
  std::vector<float> scores;
  for (int level = 0; level < 3; ++level) {
    const int64_t beams = level == 0 ? 1 : num_beams;
    Step live(7, changed.snapshot->catalogue_view(), level, kBatch, beams, num_beams, normalizer);
    Step fresh(7, changed.fresh->catalogue_view(), level, kBatch, beams, num_beams, normalizer);
    fresh.logits = live.logits;
    fresh.log_normalizer = live.log_normalizer;
    int side = 0;
    for (Step* step : {&live, &fresh}) {
      step->node = level == 0 ? std::vector<int32_t>(kBatch, 0) : nodes[side];
      step->beam_scores = level == 0 ? std::vector<float>(kBatch, 0.0f) : scores;
      step->point_at_inputs();
      const CatalogueFilterView* const filter = side == 0 ? snapshot_filter : fresh_filter;
      if (filter != nullptr) step->input.filters = {&filter, 1};
      step->run();
      nodes[side++] = step->node_out;
    }
    CHECK(live.count[0] > 0);
    CHECK(live.bits_without_nodes() == fresh.bits_without_nodes());
    scores = live.scores;
  }
}

}  // namespace

TEST_ON_EVERY_TIER(a_snapshot_is_searched_as_a_trie_of_its_items) {
  for (const auto& [inserted, deleted] :
       {std::pair<int64_t, int64_t>{0, 0}, {500, 0}, {0, 900}, {700, 900}, {20, 3000}}) {
    const ChangedCatalogue changed(3, inserted, deleted);
    for (const Normalizer normalizer : kNormalizers) {
      check_search(changed, normalizer, 30, nullptr, nullptr);
      check_search(changed, normalizer, 2000, nullptr, nullptr);
    }
  }
}

TEST_ON_EVERY_TIER(filters_hold_beside_life) {
  const ChangedCatalogue changed(4, 700, 900);
  for (const size_t count : {size_t{3}, changed.living.size() / 3}) {
    const ItemSelection allow{nullptr, changed.living.data(), static_cast<int64_t>(count)};
    const auto of_snapshot = ItemFilter::make(changed.snapshot, &allow, nullptr);
    const auto of_fresh = ItemFilter::make(changed.fresh, &allow, nullptr);
    const CatalogueFilterView live = of_snapshot->view();
    const CatalogueFilterView fresh = of_fresh->view();
    for (const Normalizer normalizer : kNormalizers) {
      check_search(changed, normalizer, 30, &live, &fresh);
    }
  }
}

TEST_ON_EVERY_TIER(one_batch_searches_several_catalogues) {
  const ChangedCatalogue changed(5, 300, 200);
  const auto other = SidTrie::build(random_catalogue(9, kSizes, 1000).input());
  const CatalogueView* const both[] = {&changed.snapshot->catalogue_view(),
                                       &other->catalogue_view()};
  Step together(11, other->catalogue_view(), 0, 2, 1, 40, Normalizer::kLevel);
  together.input.catalogues = {both, 2};
  together.run();
  for (int64_t request = 0; request < 2; ++request) {
    Step alone(11, *both[request], 0, 2, 1, 40, Normalizer::kLevel);
    alone.run();
    CHECK_EQUAL(alone.count[request], together.count[request]);
    for (int64_t i = request * 40; i < request * 40 + 40; ++i) {
      CHECK_EQUAL(alone.node_out[i], together.node_out[i]);
      CHECK_EQUAL(alone.scores[i], together.scores[i]);
    }
  }
}
