// One batch of changes to a live store, as callers make it and as the journal keeps it.
#pragma once

#include <cstdint>
#include <vector>

#include "index/generation.h"
#include "index/item_columns.h"
#include "index/journal.h"

namespace onesearch {

struct Update {
  RecordKind kind = RecordKind::kDelete;
  std::vector<int64_t> ids;     // [n], distinct; all kinds but kRollback
  std::vector<float> scores;    // [n]; kInsert and kUpdateScores
  std::vector<uint16_t> codes;  // [n, num_levels]; kInsert
  ItemColumnsHandle columns;    // of n items; kUpdateAttributes, and kInsert (null: none)
  uint64_t to_version = 0;      // kRollback
  bool ignore_missing = false;  // ids that do not live are passed over; not for kInsert

  static Update rollback_to(uint64_t version);

  // `given` [n, num_levels], of any values; throws InvalidArgument for one outside its level.
  void set_codes(const int64_t* given, size_t n, const SidTrieView& base);

  // Throws InvalidArgument unless ids are at least 0 and distinct, scores finite, codes within
  // their levels and columns those of the store, whatever lives.
  void check(const Generation& generation) const;

  // Takes out the rows that are not in `kept` [n].
  void keep(const std::vector<bool>& kept, int num_levels);
};

// The payload of its record.
std::vector<unsigned char> encode(const Update& update);

// Throws StoreFormatError when the payload is not one of this kind.
Update decode(const JournalRecord& record, int num_levels);

}  // namespace onesearch
