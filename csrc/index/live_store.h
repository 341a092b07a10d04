// A catalogue that changes while searches run. Every update makes a new snapshot, which readers
// pick up and keep; a journal keeps what was acknowledged.
//
// On disk a store is a folder: generation-<n>/ holds a trie that was built whole, journal-<n>.bin
// what happened to it since. The journal with the highest number is the store and names its
// generation; the one before it is kept for rollbacks. docs/live_store_format.md has the bytes.
#pragma once

#include <cstdint>
#include <exception>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "core/background_task.h"
#include "index/journal.h"
#include "index/snapshot.h"
#include "index/store_folder.h"
#include "index/update.h"

namespace onesearch {

using SnapshotHandle = std::shared_ptr<const Snapshot>;

// Versions from `first` to `last`, both included.
struct VersionRange {
  uint64_t first;
  uint64_t last;
};

struct LiveStoreOptions {
  Durability durability = Durability::kProcess;  // of a new store
  // Changed items (in the overlay, or dead in the base) at which a compaction starts in the
  // background; 0: the greater of 65,536 and a fiftieth of the base.
  int64_t compact_after = 0;
  bool verify = true;  // read every byte of the generation when the store is opened
};

class LiveStore {
 public:
  // Makes the folder, which must be empty if it exists. The trie's kept scores are the items', all
  // 0 when it keeps none; `columns` are those of the trie, or null.
  static std::shared_ptr<LiveStore> create(const std::string& folder, const SidTrie& trie,
                                           const ItemColumns* columns,
                                           const LiveStoreOptions& options);

  // Opens a store at its last acknowledged update.
  static std::shared_ptr<LiveStore> open(const std::string& folder,
                                         const LiveStoreOptions& options);

  ~LiveStore();

  // Gives up a compaction that runs, and the folder. Snapshots stay as they are.
  void close();

  // The latest version. Never waits for a writer.
  SnapshotHandle snapshot() const;

  // The version that the update made, once it is in the journal and visible. Throws
  // InvalidArgument or IoError, having changed nothing.
  uint64_t commit(Update update);

  // A new version with the content of an earlier one, which versions() names.
  uint64_t rollback(uint64_t version);

  // The versions that rollback can return to, ascending: all those since the compaction before the
  // last.
  std::vector<VersionRange> versions() const;

  // Builds a new generation of what lives; the content and its version stay. Updates go on
  // meanwhile. False when there was nothing to do, or a rollback got in between.
  bool compact();

  // Returns once no compaction runs in the background. What one threw is thrown here, once.
  void wait_for_compaction();

  const std::string& folder() const { return folder_.path(); }
  Durability durability() const { return durability_; }
  uint64_t torn_bytes() const { return torn_bytes_; }  // of a record that open cut off

 private:
  // A journal, its generation, and the versions it leads to.
  struct Epoch {
    uint64_t journal = 0;
    uint64_t generation = 0;
    std::vector<VersionRange> versions;
  };

  struct Ticket {
    explicit Ticket(Update update_of_caller) : update(std::move(update_of_caller)) {}

    Update update;
    uint64_t version = 0;
    std::exception_ptr error;
    bool done = false;
  };

  struct LoggedUpdate {
    uint64_t version;
    Update update;
  };

  LiveStore(StoreFolder folder, const LiveStoreOptions& options);

  static Epoch epoch_of(uint64_t journal, const JournalFile& file);

  void require_usable(const char* where) const;
  void resume(uint64_t journal, bool verify);
  void publish(uint64_t version, Snapshot::Content content);
  void commit_waiting();
  void commit_group(const std::vector<Ticket*>& group);
  uint64_t roll_back_within_epoch(uint64_t version);
  uint64_t roll_back_to_previous_epoch(uint64_t version);
  void begin_epoch(Epoch epoch, Journal journal);

  void compact_if_due();
  bool build_generation();
  SnapshotHandle start_log(uint64_t* number);
  void stop_log();
  bool catch_up(uint64_t version, std::shared_ptr<const Generation> generation);

  StoreFolder folder_;
  const int64_t compact_after_;
  const int owner_;  // process that opened the store
  Durability durability_ = Durability::kProcess;
  uint64_t torn_bytes_ = 0;

  SnapshotHandle current_;  // by atomic_load and atomic_store

  std::mutex waiting_mutex_;
  std::vector<Ticket*> waiting_;  // of writers; the first to get its turn commits for all

  mutable std::mutex turn_;  // held by the one who writes; guards what follows
  bool closed_ = false;
  std::optional<Journal> journal_;
  Epoch epoch_;
  std::optional<Epoch> previous_epoch_;
  bool logging_ = false;  // a compaction runs, and will take up the updates in log_
  std::list<LoggedUpdate> log_;
  uint64_t last_generation_ = 0;    // the highest number given
  int64_t compaction_backoff_ = 1;  // factor on the limits, doubled by each one that failed

  std::mutex compaction_mutex_;  // held while one runs
  std::unique_ptr<BackgroundTask> background_;
};

}  // namespace onesearch
