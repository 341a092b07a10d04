#include "index/journal.h"

#include <fcntl.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "core/error.h"
#include "core/hash.h"

namespace onesearch {
namespace {

constexpr char kMagic[8] = {'O', 'S', 'F', 'J', 'R', 'N', 'L', '\x1a'};
constexpr uint32_t kFormat = 1;
constexpr uint32_t kByteOrder = 0x01020304;
constexpr uint64_t kMaxVersion = uint64_t{1} << 63;  // so that there is always a next one
constexpr uint32_t kRecordMagic = 0x5246534f;        // "OSFR"

struct RecordHeader {
  uint32_t magic;
  uint32_t kind;
  uint64_t version;
  uint64_t payload_bytes;
  uint64_t previous;  // checksum of the record before, so that none can be missing
  uint64_t checksum;  // of this header with 0 here, and of the payload
};
static_assert(sizeof(RecordHeader) == 40, "the header is part of the file format");

uint64_t checksum_of(JournalHeader header) {
  header.checksum = 0;
  return xxh64(&header, sizeof header);
}

// The payload's own hash stands in for it, so that a record in a mapped file needs no copy.
uint64_t checksum_of(RecordHeader header, const void* payload) {
  header.checksum = xxh64(payload, header.payload_bytes);
  return xxh64(&header, sizeof header);
}

[[noreturn]] void reject(const std::string& path, const std::string& what,
                         const std::string& expected, const std::string& got) {
  throw StoreFormatError(complaint("LiveStore.open: " + path, what, expected, got));
}

JournalHeader read_header(const std::string& path, const Bytes& bytes) {
  JournalHeader header;
  if (bytes.size() < sizeof header) {
    reject(path, "file", "at least 64 bytes", std::to_string(bytes.size()));
  }
  std::memcpy(&header, bytes.data(), sizeof header);
  if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0) {
    reject(path, "magic", "the journal magic", "other bytes");
  }
  if (header.format != kFormat) {
    reject(path, "format", std::to_string(kFormat), std::to_string(header.format));
  }
  if (header.checksum != checksum_of(header) || header.byte_order != kByteOrder ||
      header.durability > 1 || header.first_version >= kMaxVersion) {
    reject(path, "header", "its checksum to match", "altered bytes");
  }
  return header;
}

// Whether a whole record with a matching checksum lies at `offset`.
bool sound_record_at(const Bytes& bytes, uint64_t offset, RecordHeader* header) {
  if (bytes.size() - offset < sizeof *header) return false;
  std::memcpy(header, bytes.data() + offset, sizeof *header);
  if (header->magic != kRecordMagic || header->payload_bytes % 8 != 0) return false;
  if (header->payload_bytes > bytes.size() - offset - sizeof *header) return false;
  return header->checksum == checksum_of(*header, bytes.data() + offset + sizeof *header);
}

void require_nothing_sound_after(const std::string& path, const Bytes& bytes, uint64_t offset) {
  RecordHeader header;
  for (uint64_t at = offset + 8; at < bytes.size(); at += 8) {
    if (!sound_record_at(bytes, at, &header)) continue;
    reject(path, "record at byte " + std::to_string(offset), "its checksum to match",
           "altered bytes before a sound record");
  }
}

void require_next(const std::string& path, const JournalFile& file, const RecordHeader& header) {
  const uint64_t last =
      file.records.empty() ? file.header.first_version : file.records.back().version;
  const bool known_kind = header.kind >= 1 && header.kind <= 5;
  const bool follows = header.version > last && header.version < kMaxVersion;
  if (known_kind && header.previous == file.last_checksum && follows) return;
  reject(path, "record at byte " + std::to_string(file.sound_bytes),
         "the one that follows version " + std::to_string(last),
         "version " + std::to_string(header.version));
}

}  // namespace

const char* name_of(RecordKind kind) {
  switch (kind) {
    case RecordKind::kInsert:
      return "LiveStore.insert";
    case RecordKind::kDelete:
      return "LiveStore.delete";
    case RecordKind::kUpdateScores:
      return "LiveStore.update_scores";
    case RecordKind::kUpdateAttributes:
      return "LiveStore.update_attributes";
    case RecordKind::kRollback:
      return "LiveStore.rollback";
  }
  return "LiveStore";
}

JournalFile JournalFile::read(const std::string& path) {
  JournalFile file;
  file.bytes = Bytes::map(path);
  file.header = read_header(path, file.bytes);
  file.sound_bytes = sizeof file.header;
  file.last_checksum = file.header.checksum;
  RecordHeader header;
  while (sound_record_at(file.bytes, file.sound_bytes, &header)) {
    require_next(path, file, header);
    const unsigned char* payload = file.bytes.data() + file.sound_bytes + sizeof header;
    file.records.push_back({static_cast<RecordKind>(header.kind), header.version, payload,
                            static_cast<size_t>(header.payload_bytes)});
    file.sound_bytes += sizeof header + header.payload_bytes;
    file.last_checksum = header.checksum;
  }
  require_nothing_sound_after(path, file.bytes, file.sound_bytes);
  return file;
}

Journal Journal::create(const std::string& path, uint64_t generation, uint64_t first_version,
                        Durability durability) {
  JournalHeader header{};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  header.format = kFormat;
  header.byte_order = kByteOrder;
  header.generation = generation;
  header.first_version = first_version;
  header.durability = static_cast<uint32_t>(durability);
  header.checksum = checksum_of(header);
  Journal journal(File(path, O_RDWR | O_CREAT | O_TRUNC));
  journal.durability_ = durability;
  journal.checksum_ = journal.pending_checksum_ = header.checksum;
  journal.pending_.resize(sizeof header);
  std::memcpy(journal.pending_.data(), &header, sizeof header);
  return journal;
}

Journal Journal::resume(const std::string& path, const JournalFile& file) {
  Journal journal(File(path, O_RDWR));
  journal.durability_ = static_cast<Durability>(file.header.durability);
  journal.end_ = file.sound_bytes;
  journal.checksum_ = journal.pending_checksum_ = file.last_checksum;
  if (file.bytes.size() > file.sound_bytes) journal.file_.truncate(file.sound_bytes);
  return journal;
}

void Journal::append(RecordKind kind, uint64_t version, const void* payload, size_t payload_bytes) {
  RecordHeader header{};
  header.magic = kRecordMagic;
  header.kind = static_cast<uint32_t>(kind);
  header.version = version;
  header.payload_bytes = payload_bytes;
  header.previous = pending_checksum_;
  header.checksum = checksum_of(header, payload);
  const size_t begin = pending_.size();
  pending_.resize(begin + sizeof header + payload_bytes);
  std::memcpy(&pending_[begin], &header, sizeof header);
  std::memcpy(&pending_[begin] + sizeof header, payload, payload_bytes);
  pending_checksum_ = header.checksum;
}

void Journal::discard() {
  pending_.clear();
  pending_checksum_ = checksum_;
}

void Journal::commit() {
  try {
    if (broken_) throw IoError(EIO, file_.path());
    file_.write_at(end_, pending_.data(), pending_.size());
    if (durability_ == Durability::kFsync) file_.sync();
  } catch (const IoError&) {
    discard();
    cut();
    throw;
  }
  end_ += pending_.size();
  checksum_ = pending_checksum_;
  pending_.clear();
}

// Removes what a failed commit wrote.
void Journal::cut() {
  try {
    file_.truncate(end_);
  } catch (const IoError&) {
    broken_ = true;
  }
}

void Journal::publish(const std::string& path) {
  commit();
  sync();
  if (std::rename(file_.path().c_str(), path.c_str()) != 0) throw IoError(errno, path);
  try {
    sync_folder(path.substr(0, path.find_last_of('/') + 1));
  } catch (const IoError&) {
    // The journal has its name, but a power failure could take it away with all that follows.
    broken_ = durability_ == Durability::kFsync;
  }
}

}  // namespace onesearch
