// Conditions on the attributes of items, evaluated a chunk at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "index/item_columns_view.h"
#include "index/item_set.h"

namespace onesearch {

struct alignas(64) ChunkWords {
  uint64_t words[ItemChunk::kWords];
};

// Where the items of a chunk lie in a column.
struct ChunkRange {
  uint32_t index;
  uint32_t size;

  uint32_t num_words() const { return (size + 63) / 64; }

  const uint64_t* bits(const void* bits_of_column) const {
    return static_cast<const uint64_t*>(bits_of_column) + uint64_t{index} * ItemChunk::kWords;
  }

  const void* values(const ColumnView& column) const {
    return static_cast<const unsigned char*>(column.values) +
           uint64_t{index} * ItemChunk::kBits * cell_bytes(column.type);
  }
};

// A condition on one set of columns, or a join of such conditions.
class Condition {
 public:
  virtual ~Condition() = default;

  // What is known of a chunk without a look at its items.
  virtual ItemSet::Content expect(const ChunkRange& chunk) const = 0;

  // Writes the words of a chunk of which nothing is known, and says what they hold as far as that
  // shows. `scratch` has room for one chunk a level of this condition's depth.
  virtual ItemSet::Content fill(const ChunkRange& chunk, uint64_t* words,
                                ChunkWords* scratch) const = 0;

  // Bytes read an item, so that the cheap ones can come first.
  virtual double cost() const = 0;

  ItemSet::Content evaluate(const ChunkRange& chunk, uint64_t* words, ChunkWords* scratch) const {
    const ItemSet::Content expected = expect(chunk);
    return expected == ItemSet::Content::kMixed ? fill(chunk, words, scratch) : expected;
  }
};
using ConditionHandle = std::unique_ptr<const Condition>;

// The columns must outlive the conditions.

// An integer lies in one of the closed intervals [low[i], high[i]].
ConditionHandle integers_condition(const ColumnView& column, const std::vector<int64_t>& low,
                                   const std::vector<int64_t>& high);
ConditionHandle reals_condition(const ColumnView& column, const std::vector<double>& low,
                                const std::vector<double>& high);

// The category is one of the texts; the list of categories holds one of them.
ConditionHandle texts_condition(const ColumnView& column, const std::vector<std::string>& texts);

ConditionHandle true_condition(const ColumnView& column);
ConditionHandle missing_condition(const ColumnView& column);

ConditionHandle all_conditions(std::vector<ConditionHandle> conditions);
ConditionHandle any_condition(std::vector<ConditionHandle> conditions);
ConditionHandle not_condition(ConditionHandle condition);

}  // namespace onesearch
