#include "index/live_store.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "cpu/thread_pool.h"
#include "index/edit.h"
#include "index/rebuild.h"
#include "index/replay.h"

namespace onesearch {
namespace {

constexpr int64_t kMinCompactAfter = 65536;
constexpr int64_t kCompactAfterDivisor = 50;
constexpr uint64_t kMinJournalBytes = 64 << 20;
// A compaction takes over from the writers once this many logged updates are left, or after so many
// rounds of catching up with them.
constexpr size_t kLastRoundUpdates = 16;
constexpr int kMaxRounds = 8;

int64_t changed_items(const Snapshot& snapshot) {
  const Snapshot::Content& content = snapshot.content();
  const int64_t overlay = content.overlay == nullptr ? 0 : content.overlay->num_items();
  const int64_t dead = content.live_base->num_items() - content.live_base->count();
  return std::max(overlay, dead);
}

void append(Journal* journal, uint64_t version, const Update& update) {
  const std::vector<unsigned char> payload = encode(update);
  journal->append(update.kind, version, payload.data(), payload.size());
}

std::vector<VersionRange> merged(std::vector<VersionRange> ranges) {
  std::sort(ranges.begin(), ranges.end(),
            [](VersionRange a, VersionRange b) { return a.first < b.first; });
  std::vector<VersionRange> all;
  for (const VersionRange range : ranges) {
    if (!all.empty() && range.first <= all.back().last + 1) {
      all.back().last = std::max(all.back().last, range.last);
    } else {
      all.push_back(range);
    }
  }
  return all;
}

bool contains(const std::vector<VersionRange>& ranges, uint64_t version) {
  return std::any_of(ranges.begin(), ranges.end(), [version](VersionRange range) {
    return range.first <= version && version <= range.last;
  });
}

}  // namespace

LiveStore::LiveStore(StoreFolder folder, const LiveStoreOptions& options)
    : folder_(std::move(folder)),
      compact_after_(options.compact_after),
      owner_(getpid()),
      background_(std::make_unique<BackgroundTask>()) {}

std::shared_ptr<LiveStore> LiveStore::create(const std::string& folder, const SidTrie& trie,
                                             const ItemColumns* columns,
                                             const LiveStoreOptions& options) {
  std::shared_ptr<LiveStore> store(new LiveStore(StoreFolder::create(folder), options));
  store->durability_ = options.durability;
  try {
    auto generation = Generation::save(store->folder_.generation(1), 1, trie, columns);
    Journal journal =
        Journal::create(store->folder_.unfinished_journal(1), 1, 0, options.durability);
    store->begin_epoch({1, 1, {{0, 0}}}, std::move(journal));
    store->publish(0, Snapshot::content_of(std::move(generation)));
  } catch (...) {
    store->folder_.sweep({}, {});
    throw;
  }
  return store;
}

std::shared_ptr<LiveStore> LiveStore::open(const std::string& path,
                                           const LiveStoreOptions& options) {
  std::shared_ptr<LiveStore> store(new LiveStore(StoreFolder::open(path), options));
  const StoreFolder& folder = store->folder_;
  const std::vector<uint64_t> journals = folder.journals();
  if (journals.empty()) {
    throw StoreFormatError(complaint("LiveStore.open", "folder", "a live store",
                                     "a folder without a journal: " + path,
                                     "make one with LiveStore.create"));
  }
  if (journals.size() > 1) {
    const uint64_t before = journals[journals.size() - 2];
    store->previous_epoch_ = epoch_of(before, JournalFile::read(folder.journal(before)));
  }
  store->resume(journals.back(), options.verify);
  return store;
}

void LiveStore::resume(uint64_t journal, bool verify) {
  const std::string path = folder_.journal(journal);
  const JournalFile file = JournalFile::read(path);
  epoch_ = epoch_of(journal, file);
  auto generation =
      Generation::load(folder_.generation(epoch_.generation), epoch_.generation, verify);
  const uint64_t version = epoch_.versions.back().last;
  publish(version, replay(std::move(generation), file, version));
  durability_ = static_cast<Durability>(file.header.durability);
  torn_bytes_ = file.bytes.size() - file.sound_bytes;
  journal_ = Journal::resume(path, file);
  if (previous_epoch_.has_value()) {
    folder_.sweep({epoch_.journal, previous_epoch_->journal},
                  {epoch_.generation, previous_epoch_->generation});
  } else {
    folder_.sweep({epoch_.journal}, {epoch_.generation});
  }
  const std::vector<uint64_t> generations = folder_.generations();
  last_generation_ = generations.back();
}

LiveStore::~LiveStore() {
  if (getpid() == owner_) {
    close();
  } else {
    // A child has none of its parent's threads, and may find its locks taken.
    static_cast<void>(background_.release());
  }
}

void LiveStore::close() {
  {
    const std::lock_guard<std::mutex> turn(turn_);
    closed_ = true;
    logging_ = false;
  }
  const std::lock_guard<std::mutex> no_compaction(compaction_mutex_);
  journal_.reset();
  folder_.unlock();
}

SnapshotHandle LiveStore::snapshot() const { return std::atomic_load(&current_); }

void LiveStore::publish(uint64_t version, Snapshot::Content content) {
  std::atomic_store(&current_, std::make_shared<const Snapshot>(version, std::move(content)));
}

void LiveStore::require_usable(const char* where) const {
  if (closed_) {
    throw InvalidArgument(complaint(where, "store", "one that is open", "a closed one"));
  }
  if (getpid() != owner_) {
    throw InvalidArgument(complaint(where, "store", "one that this process opened",
                                    "one inherited from a parent process",
                                    "open the store after the fork"));
  }
}

LiveStore::Epoch LiveStore::epoch_of(uint64_t journal, const JournalFile& file) {
  Epoch epoch{journal, file.header.generation, {}};
  epoch.versions.push_back({file.header.first_version, file.header.first_version});
  for (const JournalRecord& record : file.records) {
    VersionRange& range = epoch.versions.back();
    if (record.version == range.last + 1) {
      range.last = record.version;
    } else {
      epoch.versions.push_back({record.version, record.version});
    }
  }
  return epoch;
}

void LiveStore::begin_epoch(Epoch epoch, Journal journal) {
  journal.publish(folder_.journal(epoch.journal));
  journal_ = std::move(journal);
  if (previous_epoch_.has_value()) {
    const uint64_t unused = previous_epoch_->generation;
    folder_.remove_journal(previous_epoch_->journal);
    if (unused != epoch_.generation && unused != epoch.generation) {
      folder_.remove_generation(unused);
    }
  }
  if (epoch_.journal != 0) previous_epoch_ = std::move(epoch_);
  last_generation_ = std::max(last_generation_, epoch.generation);
  epoch_ = std::move(epoch);
}

uint64_t LiveStore::commit(Update update) {
  update.check(snapshot()->generation());
  Ticket ticket(std::move(update));
  {
    const std::lock_guard<std::mutex> lock(waiting_mutex_);
    waiting_.push_back(&ticket);
  }
  const std::lock_guard<std::mutex> turn(turn_);
  if (!ticket.done) commit_waiting();
  if (ticket.error) std::rethrow_exception(ticket.error);
  return ticket.version;
}

void LiveStore::commit_waiting() {
  std::vector<Ticket*> group;
  {
    const std::lock_guard<std::mutex> lock(waiting_mutex_);
    group.swap(waiting_);
  }
  try {
    commit_group(group);
  } catch (...) {
    if (journal_.has_value()) journal_->discard();
    for (Ticket* ticket : group) {
      if (!ticket->error) ticket->error = std::current_exception();
    }
  }
  for (Ticket* ticket : group) ticket->done = true;
  compact_if_due();
}

void LiveStore::commit_group(const std::vector<Ticket*>& group) {
  const SnapshotHandle before = snapshot();
  uint64_t version = before->version();
  Edit edit(before->content());
  std::list<LoggedUpdate> accepted;
  for (Ticket* ticket : group) {
    try {
      require_usable(name_of(ticket->update.kind));
      edit.add(&ticket->update);
    } catch (const InvalidArgument&) {
      ticket->error = std::current_exception();
      continue;
    }
    if (!ticket->update.ids.empty()) {
      append(&*journal_, ++version, ticket->update);
      accepted.push_back({version, std::move(ticket->update)});
    }
    ticket->version = version;
  }
  if (accepted.empty()) return;
  const auto next = std::make_shared<const Snapshot>(version, edit.apply());
  // Nothing below but the commit can fail, and when that does the store is as it was.
  journal_->commit();
  epoch_.versions.back().last = version;
  std::atomic_store(&current_, SnapshotHandle(next));
  if (logging_) log_.splice(log_.end(), accepted);
}

uint64_t LiveStore::rollback(uint64_t version) {
  const std::lock_guard<std::mutex> turn(turn_);
  require_usable("LiveStore.rollback");
  // A compaction that runs would go on from what this takes back.
  if (contains(epoch_.versions, version)) return roll_back_within_epoch(version);
  if (previous_epoch_.has_value() && contains(previous_epoch_->versions, version)) {
    return roll_back_to_previous_epoch(version);
  }
  throw InvalidArgument(
      complaint("LiveStore.rollback", "version", "one of versions()", std::to_string(version)));
}

uint64_t LiveStore::roll_back_within_epoch(uint64_t version) {
  const SnapshotHandle before = snapshot();
  const JournalFile file = JournalFile::read(folder_.journal(epoch_.journal));
  Snapshot::Content content = replay(before->content().generation, file, version);
  const uint64_t next = before->version() + 1;
  append(&*journal_, next, Update::rollback_to(version));
  journal_->commit();
  logging_ = false;
  epoch_.versions.back().last = next;
  publish(next, std::move(content));
  return next;
}

uint64_t LiveStore::roll_back_to_previous_epoch(uint64_t version) {
  const JournalFile file = JournalFile::read(folder_.journal(previous_epoch_->journal));
  const uint64_t number = file.header.generation;
  auto generation = Generation::load(folder_.generation(number), number, false);
  Snapshot::Content content = replay(std::move(generation), file, version);
  const uint64_t next = snapshot()->version() + 1;
  Epoch epoch = epoch_of(epoch_.journal + 1, file);
  epoch.versions.push_back({next, next});
  Journal journal = Journal::create(folder_.unfinished_journal(number), number,
                                    file.header.first_version, durability_);
  for (const JournalRecord& record : file.records) {
    journal.append(record.kind, record.version, record.payload, record.payload_bytes);
  }
  append(&journal, next, Update::rollback_to(version));
  begin_epoch(std::move(epoch), std::move(journal));
  logging_ = false;
  publish(next, std::move(content));
  return next;
}

std::vector<VersionRange> LiveStore::versions() const {
  const std::lock_guard<std::mutex> turn(turn_);
  std::vector<VersionRange> all = epoch_.versions;
  if (previous_epoch_.has_value()) {
    all.insert(all.end(), previous_epoch_->versions.begin(), previous_epoch_->versions.end());
  }
  return merged(std::move(all));
}

bool LiveStore::compact() {
  const std::lock_guard<std::mutex> one(compaction_mutex_);
  const bool done = build_generation();
  const std::lock_guard<std::mutex> turn(turn_);
  compaction_backoff_ = 1;
  return done;
}

bool LiveStore::build_generation() {
  uint64_t number = 0;
  const SnapshotHandle from = start_log(&number);
  if (from == nullptr) return false;
  bool done = false;
  try {
    done = catch_up(from->version(), rebuild(*from, folder_.generation(number), number));
  } catch (...) {
    stop_log();
    folder_.remove_generation(number);
    throw;
  }
  if (!done) folder_.remove_generation(number);
  return done;
}

// The snapshot to compact, from which on updates are logged; null when there is nothing to do.
SnapshotHandle LiveStore::start_log(uint64_t* number) {
  const std::lock_guard<std::mutex> turn(turn_);
  require_usable("LiveStore.compact");
  const SnapshotHandle from = snapshot();
  // A trie without items cannot be built; the old one with all of them dead serves as well.
  if (changed_items(*from) == 0 || from->num_items() == 0) return nullptr;
  *number = ++last_generation_;
  log_.clear();
  logging_ = true;
  return from;
}

void LiveStore::stop_log() {
  const std::lock_guard<std::mutex> turn(turn_);
  logging_ = false;
  log_.clear();
}

// Repeats on the new generation what came while it was built, and puts it in the place of the old
// one. False when a rollback or the end of the store got in between.
bool LiveStore::catch_up(uint64_t first_version, std::shared_ptr<const Generation> generation) {
  const uint64_t number = generation->number();
  Journal journal =
      Journal::create(folder_.unfinished_journal(number), number, first_version, durability_);
  Snapshot::Content content = Snapshot::content_of(std::move(generation));
  uint64_t version = first_version;
  for (int round = 1;; ++round) {
    std::unique_lock<std::mutex> turn(turn_);
    if (!logging_) return false;
    std::list<LoggedUpdate> log;
    log.swap(log_);
    const bool last = log.size() <= kLastRoundUpdates || round == kMaxRounds;
    if (!last) turn.unlock();
    Edit edit(std::move(content));
    for (LoggedUpdate& logged : log) {
      version = logged.version;
      append(&journal, version, logged.update);
      edit.add(&logged.update);
    }
    content = edit.apply();
    if (last) {
      begin_epoch({epoch_.journal + 1, number, {{first_version, version}}}, std::move(journal));
      logging_ = false;
      publish(version, std::move(content));
      return true;
    }
    journal.commit();
    journal.sync();
  }
}

void LiveStore::compact_if_due() {
  if (logging_ || closed_) return;
  const SnapshotHandle now = snapshot();
  const int64_t base_items = now->content().live_base->num_items();
  const int64_t limit = compact_after_ > 0
                            ? compact_after_
                            : std::max(kMinCompactAfter, base_items / kCompactAfterDivisor);
  const uint64_t max_journal = std::max<uint64_t>(kMinJournalBytes, now->generation().nbytes());
  const bool due = changed_items(*now) >= limit * compaction_backoff_ ||
                   journal_->num_bytes() >= max_journal * compaction_backoff_;
  if (!due) return;
  try {
    // One that fails, perhaps for want of disk space, is not tried again with every update.
    const auto compact_inline = [this] {
      const InlineLoops inline_loops;
      compact();
    };
    if (background_->start(compact_inline)) compaction_backoff_ *= 2;
  } catch (const std::exception&) {
    // No thread to be had. The update that made it due stands all the same.
  }
}

void LiveStore::wait_for_compaction() { background_->wait(); }

}  // namespace onesearch
