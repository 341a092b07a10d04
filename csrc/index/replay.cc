#include "index/replay.h"

#include <algorithm>
#include <string>
#include <utility>

#include "core/error.h"
#include "index/edit.h"

namespace onesearch {
namespace {

using Records = std::vector<JournalRecord>;

[[noreturn]] void reject(uint64_t version, const std::string& got) {
  throw StoreFormatError(complaint("LiveStore.open", "record of version " + std::to_string(version),
                                   "an update of what came before", got));
}

Records::const_iterator find(const Records& records, uint64_t version) {
  const auto at = std::lower_bound(
      records.begin(), records.end(), version,
      [](const JournalRecord& record, uint64_t wanted) { return record.version < wanted; });
  return at != records.end() && at->version == version ? at : records.end();
}

uint64_t version_before(const JournalFile& file, const JournalRecord& record) {
  return &record == &file.records.front() ? file.header.first_version : (&record - 1)->version;
}

// The records of the updates that made `version`, last to first.
std::vector<const JournalRecord*> history_of(const JournalFile& file, uint64_t version,
                                             int num_levels) {
  std::vector<const JournalRecord*> history;
  while (version != file.header.first_version) {
    const auto record = find(file.records, version);
    if (record == file.records.end()) reject(version, "no record");
    if (record->kind == RecordKind::kRollback) {
      const uint64_t earlier = decode(*record, num_levels).to_version;
      if (earlier >= version) reject(version, "a rollback to a later version");
      version = earlier;
    } else {
      history.push_back(&*record);
      version = version_before(file, *record);
    }
  }
  return history;
}

}  // namespace

bool has_version(const JournalFile& file, uint64_t version) {
  return version == file.header.first_version || find(file.records, version) != file.records.end();
}

Snapshot::Content replay(std::shared_ptr<const Generation> generation, const JournalFile& file,
                         uint64_t version) {
  const Generation& held = *generation;
  const int num_levels = held.trie().view().num_levels;
  const std::vector<const JournalRecord*> history = history_of(file, version, num_levels);
  Edit edit(Snapshot::content_of(std::move(generation)));
  for (auto record = history.rbegin(); record != history.rend(); ++record) {
    Update update = decode(**record, num_levels);
    try {
      update.check(held);
      edit.add(&update);
    } catch (const InvalidArgument& error) {
      reject((*record)->version, error.what());
    }
  }
  return edit.apply();
}

}  // namespace onesearch
