// The terms of some bags, sorted into lists: which rows are added to what.
#pragma once

#include <cstdint>
#include <vector>

#include "ops/sid_embedding_bag/row_kernels.h"
#include "ops/sid_embedding_bag/sid_embedding_bag.h"

namespace onesearch {

// One level of semantic IDs: row base + code of the table.
struct Level {
  int64_t column = 0;  // of the codes
  uint32_t base = 0;
  int64_t size = 0;
};

std::vector<Level> levels_of(const ItemRows& items);

// First item of a bag; that of the bag behind the last is the number of items.
inline int64_t first_item(const ItemBags& bags, int64_t bag) {
  return *bags.offsets.at<const int64_t>(bag);
}

class TermLists {
 public:
  // A code becomes the term `index` of list `list`.
  struct Place {
    uint32_t list;
    uint32_t index;
  };

  TermLists() = default;

  // The terms of bags [first, last) in some levels, in the order of levels, bags and items within
  // each list: a counting sort. place_of(level, bag - first, code) -> Place.
  template <class PlaceOf>
  TermLists(const ItemBags& bags, const ItemRows& items, const std::vector<Level>& levels,
            int64_t first, int64_t last, int64_t num_lists, const PlaceOf& place_of);

  Lists lists(int64_t first, int64_t count) const {
    return {begin_.data() + first, index_.data(), weights_.empty() ? nullptr : weights_.data(),
            count, static_cast<int64_t>(index_.size())};
  }

 private:
  std::vector<uint32_t> begin_;
  std::vector<uint32_t> index_;
  std::vector<float> weights_;
};

// Calls take(level, bag - first, item, code) for every code of bags [first, last) that is not -1.
template <class Take>
void for_each_code(const ItemBags& bags, const ItemRows& items, const std::vector<Level>& levels,
                   int64_t first, int64_t last, const Take& take) {
  for (const Level level : levels) {
    const int32_t* codes = items.codes.at<const int32_t>(0) + level.column;
    const int64_t stride = items.codes.strides[0];
    for (int64_t bag = first; bag < last; ++bag) {
      const int64_t end = first_item(bags, bag + 1);
      for (int64_t item = first_item(bags, bag); item < end; ++item) {
        const int32_t code = codes[item * stride];
        if (code == -1) continue;
        take(level, static_cast<uint32_t>(bag - first), item, static_cast<uint32_t>(code));
      }
    }
  }
}

template <class PlaceOf>
TermLists::TermLists(const ItemBags& bags, const ItemRows& items, const std::vector<Level>& levels,
                     int64_t first, int64_t last, int64_t num_lists, const PlaceOf& place_of)
    : begin_(static_cast<size_t>(num_lists) + 2, 0) {
  // Counts stand two places late, so that they become ends, and then begins, by counting up.
  uint32_t* ends = begin_.data() + 1;
  for_each_code(bags, items, levels, first, last,
                [&](const Level& level, uint32_t bag, int64_t, uint32_t code) {
                  ++ends[place_of(level, bag, code).list + 1];
                });
  for (int64_t list = 0; list < num_lists; ++list) ends[list + 1] += ends[list];
  index_.resize(ends[num_lists]);
  if (bags.weights != nullptr) weights_.resize(index_.size());
  for_each_code(bags, items, levels, first, last,
                [&](const Level& level, uint32_t bag, int64_t item, uint32_t code) {
                  const Place place = place_of(level, bag, code);
                  const uint32_t at = ends[place.list]++;
                  index_[at] = place.index;
                  if (bags.weights != nullptr) weights_[at] = *bags.weights->at<const float>(item);
                });
}

}  // namespace onesearch
