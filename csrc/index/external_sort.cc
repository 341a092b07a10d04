#include "index/external_sort.h"

#include <algorithm>
#include <utility>

#include "cpu/thread_pool.h"
#include "index/item_order.h"

namespace onesearch {
namespace {

constexpr int64_t kGrain = int64_t{1} << 16;

// What a row of a batch takes at most: its own columns, two row tables while ranges are cut twice,
// and the order of items that all lie on one SID.
template <class Key>
constexpr int64_t kBatchRowBytes = (sizeof(Key) + 16) + 2 * (sizeof(Key) + 4) + 44;

// A place in a sorted run, with the key there.
template <class Key>
struct Cursor {
  const RowTable<Key>* run;
  int64_t at;
  int64_t end;
  Key key;

  WideKey prior() const {
    return prior_key(run->ids() == nullptr ? run->rows()[at] : run->ids()[at],
                     run->scores() == nullptr ? 0.0 : run->scores()[at]);
  }

  bool is_before(const Cursor& other) const {
    return key != other.key ? key < other.key : prior() < other.prior();
  }
};

// Merges places [at, end) of every cursor into `target` from place `to` on.
template <class Key>
void merge_places(std::vector<Cursor<Key>> heap, int64_t to, const RowTable<Key>& target) {
  const auto later = [](const Cursor<Key>& a, const Cursor<Key>& b) { return b.is_before(a); };
  std::make_heap(heap.begin(), heap.end(), later);
  for (; !heap.empty(); ++to) {
    std::pop_heap(heap.begin(), heap.end(), later);
    Cursor<Key>& first = heap.back();
    target.keys()[to] = first.key;
    target.rows()[to] = first.run->rows()[first.at];
    if (target.ids() != nullptr) target.ids()[to] = first.run->ids()[first.at];
    if (target.scores() != nullptr) target.scores()[to] = first.run->scores()[first.at];
    if (++first.at == first.end) {
      heap.pop_back();
    } else {
      first.key = first.run->keys()[first.at];
      std::push_heap(heap.begin(), heap.end(), later);
    }
  }
}

}  // namespace

template <class Key>
ExternalSort<Key>::ExternalSort(const ExternalSortOptions& options)
    : options_(options),
      batch_rows_(std::max<int64_t>(options.max_memory_bytes / kBatchRowBytes<Key>, 1)) {
  const auto rows = static_cast<size_t>(batch_rows_);
  keys_.reserve(rows);
  if (options.columns.ids) ids_.reserve(rows);
  if (options.columns.scores) scores_.reserve(rows);
}

template <class Key>
void ExternalSort<Key>::add(int64_t n, const ReadKeys<Key>& read_keys, const int64_t* ids,
                            const double* scores) {
  for (int64_t first = 0; first < n;) {
    const auto filled = static_cast<int64_t>(keys_.size());
    const int64_t taken = std::min(n - first, batch_rows_ - filled);
    keys_.resize(static_cast<size_t>(filled + taken));
    parallel_for(taken, kGrain, [&](int64_t begin, int64_t end) {
      read_keys(first + begin, end - begin, keys_.data() + filled + begin);
    });
    if (ids != nullptr) ids_.insert(ids_.end(), ids + first, ids + first + taken);
    if (scores != nullptr) scores_.insert(scores_.end(), scores + first, scores + first + taken);
    first += taken;
    num_rows_ += taken;
    if (filled + taken == batch_rows_) spill();
  }
}

template <class Key>
void ExternalSort<Key>::spill() {
  const auto n = static_cast<int64_t>(keys_.size());
  const int64_t first_row = num_rows_ - n;
  RowTable<Key> sorted(n);
  const auto read_keys = [this](int64_t first, int64_t count, Key* keys) {
    std::copy_n(keys_.begin() + first, count, keys);
  };
  sort_rows<Key>(options_.bits, read_keys, &sorted);
  order_items({options_.columns.ids ? ids_.data() : nullptr,
               options_.columns.scores ? scores_.data() : nullptr, first_row},
              &sorted);
  RowTable<Key> run = make_table(n);
  parallel_for(n, kGrain, [&](int64_t begin, int64_t end) {
    std::copy(sorted.keys() + begin, sorted.keys() + end, run.keys() + begin);
    for (int64_t i = begin; i < end; ++i) {
      const uint32_t row = sorted.rows()[i];
      run.rows()[i] = static_cast<uint32_t>(first_row + row);
      if (options_.columns.ids) run.ids()[i] = ids_[row];
      if (options_.columns.scores) run.scores()[i] = scores_[row];
    }
  });
  runs_.push_back(std::move(run));
  keys_.clear();
  ids_.clear();
  scores_.clear();
}

template <class Key>
RowTable<Key> ExternalSort<Key>::merge() {
  if (!keys_.empty()) spill();
  std::vector<Key>().swap(keys_);
  std::vector<int64_t>().swap(ids_);
  std::vector<double>().swap(scores_);
  if (runs_.size() == 1) {
    runs_.front().mark_begin();
    return std::move(runs_.front());
  }
  RowTable<Key> merged = make_table(num_rows_);
  const std::vector<Key> cuts = cut_keys();
  parallel_for(static_cast<int64_t>(cuts.size()) + 1, 1, [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part) merge_part(cuts, part, merged);
  });
  merged.mark_begin();
  return merged;
}

template <class Key>
RowTable<Key> ExternalSort<Key>::make_table(int64_t size) const {
  return RowTable<Key>(size, options_.columns,
                       [this](size_t bytes) { return Bytes::scratch(options_.folder, bytes); });
}

// Keys that cut the first run, a sample of all rows, into a few parts for each thread.
template <class Key>
std::vector<Key> ExternalSort<Key>::cut_keys() const {
  const int64_t num_parts = int64_t{4} * num_threads();
  const RowTable<Key>& run = runs_.front();
  std::vector<Key> cuts;
  for (int64_t part = 1; part < num_parts; ++part) {
    cuts.push_back(run.keys()[run.size() * part / num_parts]);
  }
  return cuts;
}

// Part p holds the keys from cut p - 1 on and below cut p, so that equal keys meet in one part.
template <class Key>
void ExternalSort<Key>::merge_part(const std::vector<Key>& cuts, int64_t part,
                                   const RowTable<Key>& merged) const {
  const auto place_of_cut = [&](const RowTable<Key>& run, int64_t cut) {
    if (cut < 0) return int64_t{0};
    if (cut == static_cast<int64_t>(cuts.size())) return run.size();
    return std::lower_bound(run.keys(), run.keys() + run.size(), cuts[cut]) - run.keys();
  };
  std::vector<Cursor<Key>> heap;
  int64_t to = 0;
  for (const RowTable<Key>& run : runs_) {
    const int64_t begin = place_of_cut(run, part - 1);
    const int64_t end = place_of_cut(run, part);
    to += begin;
    if (begin < end) heap.push_back({&run, begin, end, run.keys()[begin]});
  }
  merge_places(std::move(heap), to, merged);
}

template class ExternalSort<uint64_t>;
template class ExternalSort<WideKey>;

}  // namespace onesearch
