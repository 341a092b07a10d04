// The live store against a plain map: every operation, what a search would see, files and threads.
#include "index/live_store.h"

#include <atomic>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <thread>

#include "catalogue.h"
#include "check.h"
#include "core/error.h"

using namespace onesearch;
using namespace onesearch::testing;

namespace {

struct Item {
  Code sid;
  float score;
};
using Items = std::map<int64_t, Item>;  // by id

Items items_of(const RandomCatalogue& catalogue) {
  Items items;
  for (int64_t row = 0; row < catalogue.num_items(); ++row) {
    items[catalogue.ids[row]] = {catalogue.code(row), static_cast<float>(catalogue.scores[row])};
  }
  return items;
}

std::shared_ptr<const SidTrie> trie_of(const Items& items, const std::vector<int64_t>& sizes) {
  RandomCatalogue catalogue;
  catalogue.level_sizes = sizes;
  for (const auto& [id, item] : items) {
    catalogue.ids.push_back(id);
    catalogue.codes.insert(catalogue.codes.end(), item.sid.begin(), item.sid.end());
    catalogue.scores.push_back(item.score);
  }
  CatalogueCodes input = catalogue.input();
  input.keep_scores = true;
  return SidTrie::build(input);
}

// A folder of its own, removed at the end.
class ScratchFolder {
 public:
  std::string path() const { return file_.path() + ".store"; }

 private:
  ScratchFile file_;
};

// SID -> items in order, by walking from the root as a search does.
using Listing = std::vector<std::pair<Code, std::vector<int64_t>>>;

void walk(const Snapshot& snapshot, int level, int64_t node, Code sid, Listing* listing) {
  if (level == snapshot.num_levels()) {
    int64_t offsets[2];
    std::vector<int64_t> ids;
    snapshot.items(&node, 1, offsets, &ids);
    Code codes(snapshot.num_levels());
    snapshot.codes(&node, 1, codes.data());
    CHECK(codes == sid);
    listing->emplace_back(sid, ids);
    return;
  }
  int64_t offsets[2];
  std::vector<int32_t> tokens;
  snapshot.children(level, &node, 1, offsets, &tokens);
  for (const int32_t token : tokens) {
    int64_t child;
    const int64_t wanted = token;
    snapshot.child(level, &node, &wanted, 1, &child);
    sid.push_back(token);
    walk(snapshot, level + 1, child, sid, listing);
    sid.pop_back();
  }
}

Listing listing_of(const SidTrie& trie) {
  Listing listing;
  for (int64_t rank = 0; rank < trie.view().num_sids(); ++rank) {
    Code sid(trie.view().num_levels);
    trie.codes(&rank, 1, sid.data());
    int64_t offsets[2];
    trie.item_offsets(&rank, 1, offsets);
    std::vector<int64_t> ids(offsets[1]);
    trie.items(&rank, 1, offsets, ids.data());
    listing.emplace_back(sid, ids);
  }
  return listing;
}

// The snapshot against a trie freshly built of the same items.
void check_equals(const Snapshot& snapshot, const Items& items, const std::vector<int64_t>& sizes) {
  CHECK_EQUAL(snapshot.num_items(), static_cast<int64_t>(items.size()));
  Listing found;
  walk(snapshot, 0, 0, {}, &found);
  const Listing expected = items.empty() ? Listing() : listing_of(*trie_of(items, sizes));
  CHECK(found == expected);
  CHECK_EQUAL(snapshot.num_sids(), static_cast<int64_t>(expected.size()));
}

Update insert_of(const Items& items) {
  Update update;
  update.kind = RecordKind::kInsert;
  for (const auto& [id, item] : items) {
    update.ids.push_back(id);
    update.scores.push_back(item.score);
    update.codes.insert(update.codes.end(), item.sid.begin(), item.sid.end());
  }
  return update;
}

Update delete_of(std::vector<int64_t> ids) {
  Update update;
  update.kind = RecordKind::kDelete;
  update.ids = std::move(ids);
  return update;
}

Update scores_of(const std::map<int64_t, float>& scores) {
  Update update;
  update.kind = RecordKind::kUpdateScores;
  for (const auto& [id, score] : scores) {
    update.ids.push_back(id);
    update.scores.push_back(score);
  }
  return update;
}

// Random updates, kept in step with a map.
class Shopkeeper {
 public:
  Shopkeeper(uint32_t seed, Items items, std::vector<int64_t> sizes)
      : random_(seed), items_(std::move(items)), sizes_(std::move(sizes)) {}

  const Items& items() const { return items_; }
  void return_to(Items items) { items_ = std::move(items); }

  Update next() {
    switch (random_() % 3) {
      case 0:
        return insert();
      case 1:
        return remove();
      default:
        return rescore();
    }
  }

 private:
  Update insert() {
    Items fresh;
    for (uint32_t n = 1 + random_() % 20; n > 0; --n) {
      // Ids deleted before come back, and SIDs crowd as the catalogue's do.
      const auto id = static_cast<int64_t>(random_() % 4000);
      if (items_.count(id) != 0) continue;
      fresh[id] = {sid(), static_cast<float>(random_() % 3)};
    }
    items_.insert(fresh.begin(), fresh.end());
    return insert_of(fresh);
  }

  Code sid() {
    if (!items_.empty() && random_() % 2 == 0) return some_item()->second.sid;
    Code sid;
    for (const int64_t size : sizes_) sid.push_back(static_cast<int32_t>(random_() % size));
    return sid;
  }

  Update remove() {
    std::vector<int64_t> ids;
    for (uint32_t n = 1 + random_() % 20; n > 0 && !items_.empty(); --n) {
      const auto item = some_item();
      ids.push_back(item->first);
      items_.erase(item);
    }
    return delete_of(ids);
  }

  Update rescore() {
    std::map<int64_t, float> scores;
    for (uint32_t n = 1 + random_() % 20; n > 0 && !items_.empty(); --n) {
      const auto item = some_item();
      item->second.score = static_cast<float>(random_() % 5);
      scores[item->first] = item->second.score;
    }
    return scores_of(scores);
  }

  Items::iterator some_item() { return std::next(items_.begin(), random_() % items_.size()); }

  std::mt19937 random_;
  Items items_;
  std::vector<int64_t> sizes_;
};

LiveStoreOptions never_compacting() {
  LiveStoreOptions options;
  options.compact_after = int64_t{1} << 40;
  return options;
}

}  // namespace

TEST(every_version_equals_a_trie_built_of_its_items) {
  for (const std::vector<int64_t>& sizes :
       {std::vector<int64_t>{8, 7}, {300, 6, 5}, {3, 3, 3, 3, 3, 3, 3, 3}}) {
    const RandomCatalogue catalogue = random_catalogue(1, sizes, 300);
    Shopkeeper shop(2, items_of(catalogue), sizes);
    const ScratchFolder folder;
    auto store = LiveStore::create(folder.path(), *trie_of(shop.items(), sizes), nullptr,
                                   never_compacting());
    std::vector<std::pair<SnapshotHandle, Items>> kept;
    for (int step = 0; step < 120; ++step) {
      const uint64_t version = store->commit(shop.next());
      const SnapshotHandle snapshot = store->snapshot();
      CHECK_EQUAL(snapshot->version(), version);
      check_equals(*snapshot, shop.items(), sizes);
      if (step % 10 == 0) kept.emplace_back(snapshot, shop.items());
      if (step % 40 == 20) CHECK(store->compact());
      if (step % 30 == 29) {
        store.reset();
        store = LiveStore::open(folder.path(), never_compacting());
        check_equals(*store->snapshot(), shop.items(), sizes);
      }
    }
    for (const auto& [snapshot, items] : kept) check_equals(*snapshot, items, sizes);
  }
}

TEST(rollback_returns_to_every_version_within_two_generations) {
  const std::vector<int64_t> sizes{20, 10};
  Shopkeeper shop(4, items_of(random_catalogue(3, sizes, 100)), sizes);
  const ScratchFolder folder;
  auto store =
      LiveStore::create(folder.path(), *trie_of(shop.items(), sizes), nullptr, never_compacting());
  std::map<uint64_t, Items> history{{0, shop.items()}};
  std::mt19937 random(5);
  for (int step = 0; step < 150; ++step) {
    const uint32_t what = random() % 12;
    const uint64_t before = store->snapshot()->version();
    if (what == 0) {
      store->compact();
      CHECK_EQUAL(store->snapshot()->version(), before);
    } else if (what == 1) {
      store.reset();
      store = LiveStore::open(folder.path(), never_compacting());
    } else if (what < 5) {
      const std::vector<VersionRange> ranges = store->versions();
      const VersionRange range = ranges[random() % ranges.size()];
      const uint64_t version = range.first + random() % (range.last - range.first + 1);
      CHECK_EQUAL(store->rollback(version), before + 1);
      shop.return_to(history.at(version));
    } else {
      store->commit(shop.next());
    }
    const SnapshotHandle snapshot = store->snapshot();
    history[snapshot->version()] = shop.items();
    check_equals(*snapshot, shop.items(), sizes);
  }
  // Two generations at most, and nothing else.
  int64_t folders = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
    folders += entry.is_directory();
  }
  CHECK(folders <= 2);
}

TEST(versions_before_the_last_two_generations_are_gone) {
  const std::vector<int64_t> sizes{20, 10};
  Shopkeeper shop(6, items_of(random_catalogue(3, sizes, 100)), sizes);
  const ScratchFolder folder;
  auto store =
      LiveStore::create(folder.path(), *trie_of(shop.items(), sizes), nullptr, never_compacting());
  for (int generation = 0; generation < 3; ++generation) {
    for (int i = 0; i < 5; ++i) store->commit(shop.next());
    CHECK(store->compact());
    CHECK(!store->compact());
  }
  const std::vector<VersionRange> versions = store->versions();
  CHECK_EQUAL(versions.size(), 1u);
  CHECK_EQUAL(versions[0].first, 10u);
  CHECK_EQUAL(versions[0].last, 15u);
  CHECK_THROWS(InvalidArgument, "LiveStore.rollback: version", store->rollback(9));
  CHECK_THROWS(InvalidArgument, "LiveStore.rollback: version", store->rollback(16));
}

TEST(bad_updates_change_nothing) {
  const std::vector<int64_t> sizes{20, 10};
  const Items items = items_of(random_catalogue(3, sizes, 50));
  const ScratchFolder folder;
  auto store =
      LiveStore::create(folder.path(), *trie_of(items, sizes), nullptr, never_compacting());
  const int64_t known = items.begin()->first;
  const Item& item = items.begin()->second;
  CHECK_THROWS(InvalidArgument, "LiveStore.insert: item_ids: expected ids that the store does not",
               store->commit(insert_of({{1, item}, {known, item}})));
  CHECK_THROWS(InvalidArgument, "ids that the store holds, got 1;",
               store->commit(delete_of({known, 1})));
  CHECK_THROWS(InvalidArgument, "distinct ids", store->commit(delete_of({known, known})));
  CHECK_THROWS(InvalidArgument, "ids of at least 0", store->commit(delete_of({-4})));
  CHECK_THROWS(InvalidArgument, "finite float32 numbers", store->commit(scores_of({{known, NAN}})));
  CHECK_THROWS(InvalidArgument, "[0, 10) at level 1, got 10 at row 0",
               store->commit(insert_of({{1, {{0, 10}, 0.0f}}})));
  CHECK_THROWS(InvalidArgument,
               "one that is open: ", LiveStore::open(folder.path(), never_compacting()));
  CHECK_EQUAL(store->snapshot()->version(), 0u);
  check_equals(*store->snapshot(), items, sizes);

  Update passing_over = delete_of({1, known, 3});
  passing_over.ignore_missing = true;
  CHECK_EQUAL(store->commit(passing_over), 1u);
  CHECK_EQUAL(store->commit(passing_over), 1u);
  CHECK_EQUAL(store->commit(delete_of({})), 1u);
  CHECK_EQUAL(store->snapshot()->num_items(), static_cast<int64_t>(items.size()) - 1);

  store->close();
  CHECK_THROWS(InvalidArgument, "a closed one", store->commit(insert_of({{1, item}})));
  CHECK_EQUAL(LiveStore::open(folder.path(), never_compacting())->snapshot()->version(), 1u);
}

TEST(a_store_without_items_takes_new_ones) {
  const std::vector<int64_t> sizes{20, 10};
  const Items items = items_of(random_catalogue(3, sizes, 50));
  const ScratchFolder folder;
  auto store =
      LiveStore::create(folder.path(), *trie_of(items, sizes), nullptr, never_compacting());
  std::vector<int64_t> ids;
  for (const auto& entry : items) ids.push_back(entry.first);
  store->commit(delete_of(ids));
  check_equals(*store->snapshot(), {}, sizes);
  CHECK(!store->compact());
  store->commit(insert_of(items));
  CHECK(store->compact());
  check_equals(*store->snapshot(), items, sizes);
  CHECK_EQUAL(store->snapshot()->generation().number(), 2u);
}

namespace {

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

void write_file(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

struct Written {
  std::vector<Items> versions;
  std::vector<size_t> ends;  // of the journal at each version
};

// A store of a few updates of every kind, closed.
Written write_store(const std::string& folder, const std::vector<int64_t>& sizes) {
  Shopkeeper shop(8, items_of(random_catalogue(7, sizes, 40)), sizes);
  auto store =
      LiveStore::create(folder, *trie_of(shop.items(), sizes), nullptr, never_compacting());
  Written written{{shop.items()}, {64}};
  for (int version = 1; version <= 6; ++version) {
    if (version == 5) {
      shop.return_to(written.versions[2]);
      store->rollback(2);
    } else {
      store->commit(shop.next());
    }
    written.versions.push_back(shop.items());
    written.ends.push_back(std::filesystem::file_size(folder + "/journal-1.bin"));
  }
  return written;
}

}  // namespace

TEST(a_journal_cut_anywhere_opens_at_the_last_whole_record) {
  const std::vector<int64_t> sizes{6, 5};
  const ScratchFolder folder;
  const Written written = write_store(folder.path(), sizes);
  const std::string path = folder.path() + "/journal-1.bin";
  const std::string whole = read_file(path);
  for (size_t size = 0; size <= whole.size(); ++size) {
    write_file(path, whole.substr(0, size));
    if (size < written.ends[0]) {
      CHECK_THROWS(StoreFormatError, "LiveStore.open",
                   LiveStore::open(folder.path(), never_compacting()));
      continue;
    }
    size_t version = 0;
    while (version + 1 < written.ends.size() && written.ends[version + 1] <= size) ++version;
    const auto store = LiveStore::open(folder.path(), never_compacting());
    CHECK_EQUAL(store->snapshot()->version(), version);
    CHECK_EQUAL(store->torn_bytes(), size - written.ends[version]);
    check_equals(*store->snapshot(), written.versions[version], sizes);
    CHECK_EQUAL(std::filesystem::file_size(path), written.ends[version]);
  }
}

TEST(an_altered_journal_is_refused_but_for_its_last_record) {
  const std::vector<int64_t> sizes{6, 5};
  const ScratchFolder folder;
  const Written written = write_store(folder.path(), sizes);
  const std::string path = folder.path() + "/journal-1.bin";
  const std::string whole = read_file(path);
  const size_t last_record = written.ends[written.ends.size() - 2];
  for (size_t at = 0; at < whole.size(); ++at) {
    std::string altered = whole;
    altered[at] = static_cast<char>(altered[at] ^ (1 << at % 8));
    write_file(path, altered);
    if (at < last_record) {
      CHECK_THROWS(StoreFormatError, "LiveStore.open",
                   LiveStore::open(folder.path(), never_compacting()));
    } else {
      const auto store = LiveStore::open(folder.path(), never_compacting());
      CHECK_EQUAL(store->snapshot()->version(), written.versions.size() - 2);
    }
  }
  // Records that are sound one by one but do not follow each other.
  const std::string doubled = whole + whole.substr(last_record);
  const std::string gap = whole.substr(0, written.ends[1]) + whole.substr(written.ends[2]);
  for (const std::string& bytes : {doubled, gap}) {
    write_file(path, bytes);
    CHECK_THROWS(StoreFormatError, "the one that follows version",
                 LiveStore::open(folder.path(), never_compacting()));
  }
}

TEST(readers_writers_and_compactions_at_once) {
  const std::vector<int64_t> sizes{30, 20, 10};
  Items items = items_of(random_catalogue(9, sizes, 500));
  const ScratchFolder folder;
  LiveStoreOptions options;
  options.compact_after = 8;
  const auto store = LiveStore::create(folder.path(), *trie_of(items, sizes), nullptr, options);
  std::vector<int64_t> deleted;
  for (int i = 0; i < 10; ++i) {
    deleted.push_back(items.begin()->first);
    items.erase(items.begin());
  }
  store->commit(delete_of(deleted));
  constexpr int kWriters = 3;
  constexpr int kRounds = 60;
  std::atomic<int> wrong{0};
  std::atomic<int> writing{kWriters};

  // Each writer moves a block of ten items of its own from one SID to another, whole.
  const auto write = [&](int writer) {
    Items block;
    for (int64_t i = 0; i < 10; ++i) block[1000000 + writer * 10 + i] = {{writer, 0, 0}, 1.0f};
    for (int round = 0; round < kRounds; ++round) {
      for (auto& entry : block) entry.second.sid = {writer, round % 20, 9};
      const uint64_t inserted = store->commit(insert_of(block));
      std::vector<int64_t> ids;
      for (const auto& entry : block) ids.push_back(entry.first);
      wrong += store->commit(delete_of(ids)) <= inserted;
    }
    --writing;
  };
  const auto read = [&] {
    uint64_t last = 0;
    while (writing > 0) {
      const SnapshotHandle snapshot = store->snapshot();
      wrong += snapshot->version() < last;
      last = snapshot->version();
      const auto root_count = [&] {
        int64_t count;
        const int64_t root = 0;
        snapshot->count_items(0, &root, 1, &count);
        return count;
      };
      // Blocks come and go whole.
      wrong += (root_count() - static_cast<int64_t>(items.size())) % 10 != 0;
      Listing listing;
      walk(*snapshot, 0, 0, {}, &listing);
      int64_t listed = 0;
      for (const auto& entry : listing) listed += static_cast<int64_t>(entry.second.size());
      wrong += listed != root_count() || snapshot->num_items() != listed;
      wrong += snapshot->num_sids() != static_cast<int64_t>(listing.size());
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) threads.emplace_back(read);
  for (int i = 0; i < kWriters; ++i) threads.emplace_back(write, i);
  for (std::thread& thread : threads) thread.join();
  store->wait_for_compaction();
  CHECK_EQUAL(wrong.load(), 0);
  CHECK(store->snapshot()->generation().number() > 1);
  check_equals(*store->snapshot(), items, sizes);
  CHECK_EQUAL(store->snapshot()->version(), uint64_t{1} + 2 * kWriters * kRounds);
  store->close();
  check_equals(*LiveStore::open(folder.path(), options)->snapshot(), items, sizes);
}
