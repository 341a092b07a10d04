// Rows in the order of their keys.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/bytes.h"

namespace onesearch {

// The integers that rows are sorted by: uint64_t, or WideKey where 64 bits are too few.
__extension__ typedef unsigned __int128 WideKey;

// What orders the items on one SID, where it is known.
struct PriorColumns {
  bool ids = false;
  bool scores = false;
};

template <class Key>
class RowTable {
 public:
  // Columns of 1 <= size < 2^31 rows, zeroed.
  explicit RowTable(int64_t size, PriorColumns columns = {},
                    const MakeBytes& make_bytes = &Bytes::allocate)
      : size_(size),
        keys_(make_bytes((kBefore + size + kBehind) * sizeof(Key))),
        rows_(make_bytes(size * sizeof(uint32_t))),
        ids_(columns.ids ? make_bytes(size * sizeof(int64_t)) : Bytes()),
        scores_(columns.scores ? make_bytes(size * sizeof(double)) : Bytes()) {}

  int64_t size() const { return size_; }

  // [size] ascending. Readable from -1, where mark_begin() puts what differs from keys()[0] in
  // every bit, and up to 64 beyond the end: a scan has no special case at either.
  Key* keys() const { return reinterpret_cast<Key*>(keys_.data()) + kBefore; }
  void mark_begin() { keys()[-1] = ~keys()[0]; }

  // [size]
  uint32_t* rows() const { return reinterpret_cast<uint32_t*>(rows_.data()); }

  // [size] item ids, or null where rows are the ids.
  int64_t* ids() const { return reinterpret_cast<int64_t*>(ids_.data()); }

  // [size] priors, or null where all are equal.
  double* scores() const { return reinterpret_cast<double*>(scores_.data()); }

 private:
  static constexpr int64_t kBefore = 8;  // keeps keys()[0] at the begin of a cache line
  static constexpr int64_t kBehind = 64;

  int64_t size_;
  Bytes keys_;
  Bytes rows_;
  Bytes ids_;
  Bytes scores_;
};

}  // namespace onesearch
