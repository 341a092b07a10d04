// The best candidates of a request, collected by one thread or by several.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <limits>
#include <vector>

#include "core/ranking.h"

namespace onesearch {

struct Candidate {
  uint64_t key;  // core/ranking.h, of what decides about survival
  float score;
  uint32_t node;
};

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
    kept_.clear();
    kept_.reserve(capacity_);
  }

  // Keys up to it come too late.
  uint64_t threshold() const { return std::max(threshold_, shared_->key()); }
  bool admits(uint64_t key) const { return key > threshold(); }

  // No admitted candidate's key is of a lower score.
  float least_score() const {
    const uint64_t key = threshold();
    return key == 0 ? std::numeric_limits<float>::lowest() : score_of(key);
  }

  void add(const Candidate& candidate) {
    kept_.push_back(candidate);
    if (kept_.size() == capacity_) cut();
  }

  // A candidate that is not even offered.
  void drop(float score) { best_dropped_ = std::max(best_dropped_, score); }

  void add_all(const BestCandidates& other) {
    drop(other.best_dropped_);
    for (const Candidate& candidate : other.kept_) add(candidate);
  }

  // The best `count` or fewer, best first; the others are dropped.
  const std::vector<Candidate>& finish(size_t count) {
    const auto better = [](const Candidate& a, const Candidate& b) { return a.key > b.key; };
    if (kept_.size() > limit_) cut();
    std::sort(kept_.begin(), kept_.end(), better);
    for (size_t i = count; i < kept_.size(); ++i) drop(kept_[i].score);
    kept_.resize(std::min(count, kept_.size()));
    return kept_;
  }

  // The best score of a candidate that was dropped, -inf when there was none.
  float best_dropped() const { return best_dropped_; }

 private:
  void cut() {
    const auto better = [](const Candidate& a, const Candidate& b) { return a.key > b.key; };
    const auto last = kept_.begin() + static_cast<std::ptrdiff_t>(limit_ - 1);
    std::nth_element(kept_.begin(), last, kept_.end(), better);
    threshold_ = last->key;
    shared_->raise(threshold_);
    for (size_t i = limit_; i < kept_.size(); ++i) drop(kept_[i].score);
    kept_.resize(limit_);
  }

  size_t limit_ = 0;
  size_t capacity_ = 0;
  SharedThreshold* shared_ = nullptr;
  uint64_t threshold_ = 0;
  float best_dropped_ = 0.0f;
  std::vector<Candidate> kept_;
};

}  // namespace onesearch
