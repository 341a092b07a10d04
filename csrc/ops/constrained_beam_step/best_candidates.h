// The best candidates of a request, collected by one thread or by several.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <limits>
#include <vector>

#include "core/ranking.h"
#include "ops/constrained_beam_step/candidate.h"

namespace onesearch {

// A key that the last survivor of a request surpasses or equals: what one thread found out spares
// the others work. It only grows, and is a lower bound at any time, so that no result depends on
// when it is read.
class SharedThreshold {
 public:
  SharedThreshold() = default;
  SharedThreshold(const SharedThreshold&) : SharedThreshold() {}

  void reset() { key_.store(0, std::memory_order_relaxed); }
  uint64_t key() const { return key_.load(std::memory_order_relaxed); }
  void raise(uint64_t key) {
    uint64_t known = this->key();
    while (known < key && !key_.compare_exchange_weak(known, key, std::memory_order_relaxed)) {
    }
  }

 private:
  std::atomic<uint64_t> key_{0};
};

// The greatest keys offered so far, in an unordered buffer of twice their number or more that
// selection cuts back when it is full: a candidate costs O(1), whatever their number is.
class BestCandidates {
 public:
  // Keeps `limit` candidates.
  void reset(int64_t limit, SharedThreshold* shared) {
    limit_ = static_cast<size_t>(limit);
    capacity_ = std::max<size_t>(2 * limit_, 256);
    shared_ = shared;
    threshold_ = 0;
    best_dropped_ = -std::numeric_limits<float>::infinity();
    size_ = 0;
    if (kept_.size() < capacity_) kept_.resize(capacity_);
    if (rest_.size() < capacity_) rest_.resize(capacity_);
  }

  // Keys up to it come too late.
  uint64_t threshold() const { return std::max(threshold_, shared_->key()); }
  bool admits(uint64_t key) const { return key > threshold(); }

  // No admitted candidate's key is of a lower score.
  float least_score() const {
    const uint64_t key = threshold();
    return key == 0 ? std::numeric_limits<float>::lowest() : score_of(key);
  }

  // Keeps it if it is admitted. It is written either way: which candidates are good is random, and
  // a branch on it would cost more than all else here.
  void add(const Candidate& candidate) {
    kept_[size_] = candidate;
    size_ += admits(candidate.key);
    if (size_ == capacity_) cut();
  }

  // A candidate that is not even offered.
  void drop(float score) { best_dropped_ = std::max(best_dropped_, score); }

  void add_all(const BestCandidates& other) {
    drop(other.best_dropped_);
    for (size_t i = 0; i < other.size_; ++i) add(other.kept_[i]);
  }

  // The best `count` or fewer, best first; the others are dropped. Valid until the next reset.
  CandidateSpan finish(size_t count) {
    if (size_ > limit_) cut();
    const Candidate* const sorted = sort_best_first(kept_.data(), rest_.data(), size_);
    for (size_t i = count; i < size_; ++i) drop(sorted[i].score);
    size_ = std::min(count, size_);
    return {sorted, size_};
  }

  // The best score of a candidate that was dropped, -inf when there was none.
  float best_dropped() const { return best_dropped_; }

 private:
  // Quickselect that does not branch on keys. kept_[0, first) are greater than the others, which
  // are greater than kept_[last, size_).
  void cut() {
    size_t first = 0;
    size_t last = size_;
    while (last - first > kRankedRun) {
      const size_t middle = part(first, last, median_key(first, last));
      if (middle == first) break;  // equal keys, which only a broken catalogue makes
      (middle < limit_ ? first : last) = middle;
    }
    Candidate* const few = kept_.data() + first;
    const Candidate* const sorted = sort_best_first(few, rest_.data(), last - first);
    if (sorted != few) std::copy_n(sorted, last - first, few);
    threshold_ = kept_[limit_ - 1].key;
    shared_->raise(threshold_);
    for (size_t i = limit_; i < size_; ++i) drop(kept_[i].score);
    size_ = limit_;
  }

  uint64_t median_key(size_t first, size_t last) const {
    const uint64_t a = kept_[first].key;
    const uint64_t b = kept_[first + (last - first) / 2].key;
    const uint64_t c = kept_[last - 1].key;
    return std::max(std::min(a, b), std::min(std::max(a, b), c));
  }

  // Puts those of kept_[first, last) that surpass `key` before the others; returns their end.
  size_t part(size_t first, size_t last, uint64_t key) {
    size_t end = first;
    size_t rest = 0;
    for (size_t i = first; i < last; ++i) {
      const Candidate candidate = kept_[i];
      const bool surpasses = candidate.key > key;
      kept_[end] = candidate;
      rest_[rest] = candidate;
      end += surpasses;
      rest += !surpasses;
    }
    std::copy_n(rest_.begin(), rest, at(end));
    return end;
  }

  std::vector<Candidate>::iterator at(size_t i) {
    return kept_.begin() + static_cast<std::ptrdiff_t>(i);
  }

  size_t limit_ = 0;
  size_t capacity_ = 0;
  SharedThreshold* shared_ = nullptr;
  uint64_t threshold_ = 0;
  float best_dropped_ = 0.0f;
  size_t size_ = 0;
  std::vector<Candidate> kept_;  // [0, size_)
  std::vector<Candidate> rest_;  // of part()
};

}  // namespace onesearch
