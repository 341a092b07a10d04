// Sorts more rows than memory holds: batches are sorted and set aside in scratch files, then
// merged.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "index/row_sort.h"
#include "index/row_table.h"

namespace onesearch {

struct ExternalSortOptions {
  int bits = 64;  // of the keys
  PriorColumns columns;
  std::string folder;            // of scratch files, which have no names and go with the object
  int64_t max_memory_bytes = 0;  // of its own; scratch files are mapped and not counted
};

template <class Key>
class ExternalSort {
 public:
  explicit ExternalSort(const ExternalSortOptions& options);

  // The next n rows, which go on from those before: `read_keys` counts them from 0, as do ids and
  // scores. These are given where, and only where, the options say so.
  void add(int64_t n, const ReadKeys<Key>& read_keys, const int64_t* ids, const double* scores);

  // All rows by key, equal keys as order_items puts them, in a scratch file. At least one row.
  RowTable<Key> merge();

  int64_t num_rows() const { return num_rows_; }

 private:
  void spill();
  RowTable<Key> make_table(int64_t size) const;
  std::vector<Key> cut_keys() const;
  void merge_part(const std::vector<Key>& cuts, int64_t part, const RowTable<Key>& merged) const;

  ExternalSortOptions options_;
  int64_t batch_rows_;
  int64_t num_rows_ = 0;
  std::vector<Key> keys_;  // of the batch, as are:
  std::vector<int64_t> ids_;
  std::vector<double> scores_;
  std::vector<RowTable<Key>> runs_;
};

}  // namespace onesearch
