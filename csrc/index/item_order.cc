#include "index/item_order.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <utility>
#include <vector>

#include "core/hash.h"
#include "cpu/thread_pool.h"
#include "index/row_sort.h"

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
  ItemOrder(const ItemPriors& priors, uint32_t* rows) : priors_(priors), rows_(rows) {}

  void sort_short(const Run& run, std::vector<std::pair<WideKey, uint32_t>>* scratch) const {
    scratch->clear();
    for (int64_t i = run.begin; i < run.end; ++i) {
      scratch->emplace_back(priors_.key(rows_[i]), rows_[i]);
    }
    std::sort(scratch->begin(), scratch->end());
    for (int64_t i = run.begin; i < run.end; ++i) rows_[i] = (*scratch)[i - run.begin].second;
  }

  void sort_long(const Run& run) const {
    const std::vector<uint32_t> rows(rows_ + run.begin, rows_ + run.end);
    RowTable<WideKey> sorted(run.size());
    const auto read_keys = [&](int64_t first, int64_t n, WideKey* keys) {
      for (int64_t i = 0; i < n; ++i) keys[i] = priors_.key(rows[first + i]);
    };
    sort_rows<WideKey>(128, read_keys, &sorted);
    for (int64_t i = 0; i < run.size(); ++i) rows_[run.begin + i] = rows[sorted.rows()[i]];
  }

 private:
  const ItemPriors& priors_;
  uint32_t* rows_;
};

}  // namespace

WideKey prior_key(int64_t item_id, double score) {
  return static_cast<WideKey>(descending(score)) << 64 | item_hash(item_id);
}

template <class Key>
void order_items(const ItemPriors& priors, RowTable<Key>* sorted) {
  const Key* keys = sorted->keys();
  const ItemOrder order(priors, sorted->rows());
  std::mutex mutex;
  std::vector<Run> long_runs;
  parallel_for(sorted->size(), kLongRun, [&](int64_t begin, int64_t end) {
    std::vector<std::pair<WideKey, uint32_t>> scratch;
    // A run belongs to the chunk in which it begins.
    while (begin < end && keys[begin] == keys[begin - 1]) ++begin;
    while (begin < end) {
      Run run{begin, begin + 1};
      while (run.end < sorted->size() && keys[run.end] == keys[run.begin]) ++run.end;
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

template void order_items(const ItemPriors&, RowTable<uint64_t>*);
template void order_items(const ItemPriors&, RowTable<WideKey>*);

}  // namespace onesearch
