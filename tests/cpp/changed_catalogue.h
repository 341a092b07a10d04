// A live store that has seen inserts and deletes.
#pragma once

#include <algorithm>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include "catalogue.h"
#include "index/live_store.h"

namespace onesearch::testing {

inline const std::vector<int64_t> kSizes{60, 300, 20};

inline RandomCatalogue rows_of(const RandomCatalogue& all, const std::vector<int64_t>& rows) {
  RandomCatalogue chosen;
  chosen.level_sizes = all.level_sizes;
  for (const int64_t row : rows) {
    const Code code = all.code(row);
    chosen.codes.insert(chosen.codes.end(), code.begin(), code.end());
    chosen.ids.push_back(all.ids[row]);
    chosen.scores.push_back(all.scores[row]);
  }
  return chosen;
}

// A store that began with some items, got others and lost some of both; and a trie of what is left.
struct ChangedCatalogue {
  ScratchFile file;
  std::shared_ptr<LiveStore> store;
  SnapshotHandle snapshot;
  std::shared_ptr<const SidTrie> fresh;
  std::vector<int64_t> living;  // ids

  ChangedCatalogue(uint32_t seed, int64_t inserted, int64_t deleted) {
    constexpr int64_t kFirst = 3000;
    const RandomCatalogue all = random_catalogue(seed, kSizes, kFirst + inserted);
    std::vector<int64_t> rows(all.ids.size());
    std::iota(rows.begin(), rows.end(), 0);
    const RandomCatalogue first = rows_of(all, {rows.begin(), rows.begin() + kFirst});
    CatalogueCodes input = first.input();
    input.keep_scores = true;
    LiveStoreOptions options;
    options.compact_after = int64_t{1} << 40;
    store = LiveStore::create(file.path() + ".store", *SidTrie::build(input), nullptr, options);
    if (inserted > 0) store->commit(insert_of(rows_of(all, {rows.begin() + kFirst, rows.end()})));
    std::shuffle(rows.begin(), rows.end(), std::mt19937(seed));
    const RandomCatalogue left = rows_of(all, {rows.begin() + deleted, rows.end()});
    if (deleted > 0) store->commit(delete_of(rows_of(all, {rows.begin(), rows.begin() + deleted})));
    snapshot = store->snapshot();
    fresh = SidTrie::build(left.input());
    living = left.ids;
  }

 private:
  static Update insert_of(const RandomCatalogue& items) {
    Update update;
    update.kind = RecordKind::kInsert;
    update.ids = items.ids;
    update.scores.assign(items.scores.begin(), items.scores.end());
    update.codes.assign(items.codes.begin(), items.codes.end());
    return update;
  }

  static Update delete_of(const RandomCatalogue& items) {
    Update update;
    update.kind = RecordKind::kDelete;
    update.ids = items.ids;
    return update;
  }
};

}  // namespace onesearch::testing
