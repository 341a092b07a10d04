#include "index/item_order.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <utility>
#include <vector>

#include "core/hash.h"
#include "cpu/thread_pool.h"

namespace onesearch {
namespace {

// SIDs with more items are sorted by all threads, one SID after another.
constexpr int64_t kLongRun = int64_t{1} << 16;

struct Run {
  int64_t begin;
  int64_t end;

  int64_t size() const { return end - begin; }
};

// Ascends as scores descend; -0 and 0 are equal.
uint64_t descending(double score) {
  constexpr uint64_t kSign = uint64_t{1} << 63;
  const double plain = score + 0.0;
  uint64_t bits;
  std::memcpy(&bits, &plain, sizeof bits);
  return (bits & kSign) != 0 ? bits : ~(bits | kSign);
}

class ItemOrder {
 public:
  ItemOrder(uint32_t* rows, const int64_t* item_ids, const double* item_scores)
      : rows_(rows), item_ids_(item_ids), item_scores_(item_scores) {}

  void sort_short(const Run& run, std::vector<std::pair<WideKey, uint32_t>>* scratch) const {
    scratch->clear();
    for (int64_t i = run.begin; i < run.end; ++i) scratch->emplace_back(key(rows_[i]), rows_[i]);
    std::sort(scratch->begin(), scratch->end());
    for (int64_t i = run.begin; i < run.end; ++i) rows_[i] = (*scratch)[i - run.begin].second;
  }

  void sort_long(const Run& run) const {
    const std::vector<uint32_t> rows(rows_ + run.begin, rows_ + run.end);
    const SortedRows<WideKey> sorted(run.size(), 128, [&](int64_t first, int64_t n, WideKey* keys) {
      for (int64_t i = 0; i < n; ++i) keys[i] = key(rows[first + i]);
    });
    for (int64_t i = 0; i < run.size(); ++i) rows_[run.begin + i] = rows[sorted.rows()[i]];
  }

 private:
  WideKey key(uint32_t row) const {
    const int64_t id = item_ids_ == nullptr ? row : item_ids_[row];
    const uint64_t prior = item_scores_ == nullptr ? 0 : descending(item_scores_[row]);
    return static_cast<WideKey>(prior) << 64 | item_hash(id);
  }

  uint32_t* rows_;
  const int64_t* item_ids_;
  const double* item_scores_;
};

}  // namespace

template <class Key>
void order_items(const SortedRows<Key>& sorted, const int64_t* item_ids,
                 const double* item_scores) {
  const Key* keys = sorted.keys();
  const ItemOrder order(sorted.rows(), item_ids, item_scores);
  std::mutex mutex;
  std::vector<Run> long_runs;
  parallel_for(sorted.size(), kLongRun, [&](int64_t begin, int64_t end) {
    std::vector<std::pair<WideKey, uint32_t>> scratch;
    // A run belongs to the chunk in which it begins.
    while (begin < end && keys[begin] == keys[begin - 1]) ++begin;
    while (begin < end) {
      Run run{begin, begin + 1};
      while (run.end < sorted.size() && keys[run.end] == keys[run.begin]) ++run.end;
      begin = run.end;
      if (run.size() > kLongRun) {
        const std::lock_guard<std::mutex> lock(mutex);
        long_runs.push_back(run);
      } else if (run.size() > 1) {
        order.sort_short(run, &scratch);
      }
    }
  });
  for (const Run& run : long_runs) order.sort_long(run);
}

template void order_items(const SortedRows<uint64_t>&, const int64_t*, const double*);
template void order_items(const SortedRows<WideKey>&, const int64_t*, const double*);

}  // namespace onesearch
