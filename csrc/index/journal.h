// The updates of one generation, in the order in which they were acknowledged, as a file that only
// grows. docs/live_store_format.md gives its bytes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/bytes.h"
#include "core/file.h"

namespace onesearch {

enum class Durability : uint32_t {
  kProcess = 0,  // what is acknowledged survives the end of the process
  kFsync = 1,    // and a power failure
};

enum class RecordKind : uint32_t {
  kInsert = 1,
  kDelete = 2,
  kUpdateScores = 3,
  kUpdateAttributes = 4,
  kRollback = 5,
};

// The call that makes a record of this kind, for messages.
const char* name_of(RecordKind kind);

struct JournalHeader {
  char magic[8];
  uint32_t format;
  uint32_t byte_order;
  uint64_t generation;
  uint64_t first_version;  // of the generation as it was built, before any record
  uint32_t durability;
  uint32_t reserved[5];
  uint64_t checksum;
};
static_assert(sizeof(JournalHeader) == 64, "the header is part of the file format");

struct JournalRecord {
  RecordKind kind;
  uint64_t version;  // of the store after this record
  const unsigned char* payload;
  size_t payload_bytes;  // a multiple of 8
};

// A journal as it lies in its file.
struct JournalFile {
  // Throws StoreFormatError when a record that is followed by a sound one is not sound itself. A
  // last record that is not sound was never acknowledged: the process ended while writing it.
  static JournalFile read(const std::string& path);

  Bytes bytes;
  JournalHeader header;
  std::vector<JournalRecord> records;
  uint64_t sound_bytes = 0;    // what follows is the torn record
  uint64_t last_checksum = 0;  // of the last record, or of the header
};

class Journal {
 public:
  // An empty journal, in a file that is not yet one of the store's.
  static Journal create(const std::string& path, uint64_t generation, uint64_t first_version,
                        Durability durability);

  // Goes on with a journal; a torn record is cut off.
  static Journal resume(const std::string& path, const JournalFile& file);

  uint64_t num_bytes() const { return end_; }

  // A record of the next commit. `payload_bytes` is a multiple of 8.
  void append(RecordKind kind, uint64_t version, const void* payload, size_t payload_bytes);

  // Forgets what was appended since the last commit.
  void discard();

  // Writes what was appended. When it throws, the file is as it was, and what was appended is
  // discarded.
  void commit();

  // What is committed reaches the disk, whatever the durability.
  void sync() const { file_.sync(); }

  // The file takes its name in the store, on disk and whole. When it throws, it has not.
  void publish(const std::string& path);

 private:
  explicit Journal(File file) : file_(std::move(file)) {}

  void cut();

  File file_;
  Durability durability_ = Durability::kProcess;
  std::vector<unsigned char> pending_;
  uint64_t end_ = 0;               // of what is committed
  uint64_t checksum_ = 0;          // of the last committed record, or of the header
  uint64_t pending_checksum_ = 0;  // of the last appended record
  bool broken_ = false;            // what fails can no longer be made good
};

}  // namespace onesearch
