// Closed intervals of numbers, and which of them a chunk of items can meet.
#pragma once

#include <algorithm>
#include <vector>

#include "index/item_columns_view.h"
#include "index/item_set.h"

namespace onesearch {

template <class T>
struct Interval {
  T low;
  T high;
};

// Closed intervals in ascending order, none within another, those that overlap made one.
template <class T>
class Intervals {
 public:
  // Of [low[i], high[i]] what lies in [least, greatest].
  Intervals(const std::vector<T>& low, const std::vector<T>& high, T least, T greatest) {
    for (size_t i = 0; i < low.size(); ++i) {
      const Interval<T> inside{std::max(low[i], least), std::min(high[i], greatest)};
      if (inside.low <= inside.high) sorted_.push_back(inside);
    }
    std::sort(sorted_.begin(), sorted_.end(),
              [](const Interval<T>& a, const Interval<T>& b) { return a.low < b.low; });
    size_t kept = 0;
    for (const Interval<T>& next : sorted_) {
      if (kept > 0 && next.low <= sorted_[kept - 1].high) {
        sorted_[kept - 1].high = std::max(sorted_[kept - 1].high, next.high);
      } else {
        sorted_[kept++] = next;
      }
    }
    sorted_.resize(kept);
  }

  const std::vector<Interval<T>>& sorted() const { return sorted_; }

  struct Range {
    const Interval<T>* begin;
    const Interval<T>* end;
  };

  // Those that a value of the zone can lie in.
  Range near(const ColumnZone<T>& zone) const {
    const auto first =
        std::lower_bound(sorted_.begin(), sorted_.end(), zone.low,
                         [](const Interval<T>& one, T low) { return one.high < low; });
    const auto last =
        std::upper_bound(first, sorted_.end(), zone.high,
                         [](T high, const Interval<T>& one) { return high < one.low; });
    return {sorted_.data() + (first - sorted_.begin()), sorted_.data() + (last - sorted_.begin())};
  }

  ItemSet::Content expect(const ColumnZone<T>& zone) const {
    const Range range = near(zone);
    if (range.begin == range.end) return ItemSet::Content::kNothing;
    const bool covered = range.begin->low <= zone.low && zone.high <= range.begin->high;
    return covered && zone.num_missing == 0 ? ItemSet::Content::kEverything
                                            : ItemSet::Content::kMixed;
  }

 private:
  std::vector<Interval<T>> sorted_;
};

}  // namespace onesearch
