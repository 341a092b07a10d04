#include "fuzz_journal.h"

#include <cstring>
#include <fstream>
#include <iterator>

#include "core/error.h"
#include "core/hash.h"
#include "fuzz_item_columns.h"
#include "fuzz_targets.h"
#include "index/live_store.h"
#include "item_rows.h"

namespace onesearch::testing {
namespace {

constexpr size_t kRecordHeaderBytes = 40;
constexpr size_t kPayloadBytesAt = 16;
constexpr size_t kPreviousAt = 24;
constexpr size_t kChecksumAt = 32;
constexpr size_t kHeaderChecksumAt = 56;

ItemColumnsHandle prices(uint32_t n, uint64_t catalogue) {
  std::vector<int64_t> values(n);
  for (uint32_t i = 0; i < n; ++i) values[i] = i % 7;
  return ItemColumns::build(n, {integer_rows("price", values, nullptr)}, nullptr, catalogue);
}

Update update_of(RecordKind kind, std::vector<int64_t> ids) {
  Update update;
  update.kind = kind;
  update.ids = std::move(ids);
  return update;
}

void write_some_of_each_kind(LiveStore& store, const std::vector<int64_t>& ids) {
  Update insert = update_of(RecordKind::kInsert, {10001, 10002, 10003});
  insert.scores = {0.0f, 2.0f, -1.0f};
  insert.codes = {0, 1, 5, 4, 5, 4};
  insert.columns = prices(3, 0);
  store.commit(std::move(insert));
  store.commit(update_of(RecordKind::kDelete, {ids[0], 10002}));
  Update scores = update_of(RecordKind::kUpdateScores, {ids[1], 10003});
  scores.scores = {3.0f, 4.0f};
  store.commit(std::move(scores));
  Update attributes = update_of(RecordKind::kUpdateAttributes, {ids[2], 10001});
  attributes.columns = prices(2, 0);
  store.commit(std::move(attributes));
  store.rollback(2);
}

void query_everything(const Snapshot& snapshot) {
  const int last = snapshot.num_levels();
  for (int64_t rank = 0; rank < snapshot.catalogue_view().num_nodes(last); ++rank) {
    std::vector<int32_t> codes(last);
    snapshot.codes(&rank, 1, codes.data());
    int64_t offsets[2];
    std::vector<int64_t> ids;
    snapshot.items(&rank, 1, offsets, &ids);
    std::vector<int64_t> positions(ids.size());
    snapshot.positions(ids.data(), static_cast<int64_t>(ids.size()), positions.data());
  }
  snapshot.num_sids();
  if (snapshot.overlay_columns() != nullptr) item_texts(*snapshot.overlay_columns());
}

uint64_t number_at(const std::string& bytes, size_t offset) {
  uint64_t number;
  std::memcpy(&number, bytes.data() + offset, sizeof number);
  return number;
}

void set_number(std::string& bytes, size_t offset, uint64_t number) {
  std::memcpy(bytes.data() + offset, &number, sizeof number);
}

// Sets the checksum at `at` of the header [begin, begin + size).
uint64_t seal(std::string& bytes, size_t begin, size_t size, size_t at, uint64_t seed) {
  set_number(bytes, at, seed);
  const uint64_t checksum = xxh64(bytes.data() + begin, size);
  set_number(bytes, at, checksum);
  return checksum;
}

}  // namespace

JournalFolder::JournalFolder() {
  const RandomCatalogue catalogue = random_catalogue(1, {6, 5}, 40);
  const auto trie = SidTrie::build(catalogue.input());
  const auto columns = prices(trie->view().num_items, trie->fingerprint());
  const auto store = LiveStore::create(path(), *trie, columns.get(), {});
  write_some_of_each_kind(*store, catalogue.ids);
  std::ifstream file(journal_path(), std::ios::binary);
  journal_.assign(std::istreambuf_iterator<char>(file), {});
}

bool JournalFolder::open_with(const std::string& journal) const {
  std::ofstream(journal_path(), std::ios::binary | std::ios::trunc) << journal;
  try {
    const auto store = LiveStore::open(path(), {});
    query_everything(*store->snapshot());
    for (const VersionRange range : store->versions()) {
      store->rollback(range.last);
      query_everything(*store->snapshot());
    }
    Update insert = update_of(RecordKind::kInsert, {20001});
    insert.scores = {1.0f};
    insert.codes = {1, 1};
    insert.ignore_missing = true;
    store->commit(std::move(insert));
    return true;
  } catch (const StoreFormatError&) {
    return false;
  } catch (const IoError&) {
    return false;  // a generation that is not there
  }
}

void reseal_journal(std::string& bytes) {
  if (bytes.size() < kHeaderChecksumAt + sizeof(uint64_t)) return;
  size_t at = kHeaderChecksumAt + sizeof(uint64_t);
  uint64_t previous = seal(bytes, 0, at, kHeaderChecksumAt, 0);
  while (bytes.size() - at >= kRecordHeaderBytes) {
    const uint64_t payload_bytes = number_at(bytes, at + kPayloadBytesAt);
    if (payload_bytes > bytes.size() - at - kRecordHeaderBytes) return;
    set_number(bytes, at + kPreviousAt, previous);
    const uint64_t of_payload = xxh64(bytes.data() + at + kRecordHeaderBytes, payload_bytes);
    previous = seal(bytes, at, kRecordHeaderBytes, at + kChecksumAt, of_payload);
    at += kRecordHeaderBytes + payload_bytes;
  }
}

void fuzz_journal(const uint8_t* bytes, size_t size) {
  static const JournalFolder folder;
  if (size == 0) return;
  std::string journal(bytes + 1, bytes + size);
  if (bytes[0] % 2 == 1) reseal_journal(journal);
  folder.open_with(journal);
}

}  // namespace onesearch::testing
