#include "index/item_conditions.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "core/dtype.h"
#include "index/intervals.h"
#include "index/item_kernels.h"

namespace onesearch {
namespace {

using Content = ItemSet::Content;

// Ranges that are tested one after the other; with more, a look-up of each value in memory is
// faster.
constexpr std::ptrdiff_t kMaxRanges = 8;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

int width_index(CellType type) {
  const int bytes = cell_bytes(type);
  return bytes == 1 ? 0 : bytes == 2 ? 1 : bytes == 4 ? 2 : 3;
}

// Membership in many values at the cost of one look-up each.
class Lookup {
 public:
  // Integers of one or two bytes, or codes, which are below `num_codes`, by a table of bits.
  static std::unique_ptr<Lookup> of_table(const Intervals<int64_t>& intervals, CellType type,
                                          uint32_t num_codes) {
    std::unique_ptr<Lookup> lookup(new Lookup(type));
    const uint32_t all = cell_bytes(type) == 4 ? ~0u : (1u << (8 * cell_bytes(type))) - 1;
    lookup->num_bits_ = num_codes > 0 ? num_codes : all + 1;
    lookup->bits_.assign(uint64_t{lookup->num_bits_} / 64 + 1, 0);
    for (const Interval<int64_t>& one : intervals.sorted()) {
      for (int64_t value = one.low; value <= one.high; ++value) {
        const uint32_t bit = static_cast<uint32_t>(value) & all;
        lookup->bits_[bit / 64] |= uint64_t{1} << (bit % 64);
      }
    }
    return lookup;
  }

  // Numbers by their bits, any order.
  static std::unique_ptr<Lookup> of_keys(std::vector<uint64_t> keys, CellType type) {
    std::unique_ptr<Lookup> lookup(new Lookup(type));
    std::sort(keys.begin(), keys.end());
    lookup->keys_ = std::move(keys);
    lookup->key_set_.keys = lookup->keys_.data();
    lookup->key_set_.num_keys = static_cast<int64_t>(lookup->keys_.size());
    // 16 bits a key: one value in 16 that is no key is looked for in vain.
    int filter_bits = 12;
    while (lookup->keys_.size() > size_t{1} << (filter_bits - 4)) ++filter_bits;
    lookup->bits_.assign(size_t{1} << (filter_bits - 6), 0);
    for (const uint64_t key : lookup->keys_) {
      const uint64_t bit = KeySet::hash(key, filter_bits);
      lookup->bits_[bit / 64] |= uint64_t{1} << (bit % 64);
    }
    lookup->key_set_.filter = lookup->bits_.data();
    lookup->key_set_.filter_bits = filter_bits;
    return lookup;
  }

  // Whether this is faster than to test so many ranges.
  bool beats(std::ptrdiff_t num_ranges) const {
    const int width = width_index(type_);
    const bool in_registers = width < 2 && num_bits_ <= item_kernels().register_table_bits[width];
    return num_ranges > (in_registers ? 1 : kMaxRanges);
  }

  void fill(const void* values, uint32_t n, uint64_t* words) const {
    const ItemKernels& kernels = item_kernels();
    const int width = width_index(type_);
    if (key_set_.keys != nullptr) {
      kernels.in_keys[width - 2](values, n, key_set_, words);
    } else {
      kernels.in_table[width](values, n, bits_.data(), num_bits_, words);
    }
  }

 private:
  explicit Lookup(CellType type) : type_(type) {}

  CellType type_;
  uint32_t num_bits_ = 0;
  std::vector<uint64_t> bits_;  // a table of codes, or the filter of key_set_
  std::vector<uint64_t> keys_;
  KeySet key_set_;
};

Interval<int64_t> limits_of(CellType type) {
  switch (type) {
    case CellType::kUInt8:
      return {0, 0xff};
    case CellType::kUInt16:
      return {0, 0xffff};
    case CellType::kUInt32:
      return {0, 0xffffffff};
    case CellType::kInt8:
      return {-0x80, 0x7f};
    case CellType::kInt16:
      return {-0x8000, 0x7fff};
    case CellType::kInt32:
      return {-0x80000000ll, 0x7fffffff};
    default:
      return {std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max()};
  }
}

uint64_t bits_of(double value) {
  uint64_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

uint64_t bits_of(float value) { return bits_from_float(value); }

void invert(uint64_t* words, uint32_t n) {
  for (uint32_t at = 0; at < n; ++at) words[at] = ~words[at];
}

bool any_bit(const uint64_t* words, uint32_t n) {
  uint64_t bits = 0;
  for (uint32_t at = 0; at < n; ++at) bits |= words[at];
  return bits != 0;
}

void clear_missing(const ColumnView& column, const ChunkRange& chunk, uint64_t* words) {
  if (column.missing == nullptr || column.integer_zones[chunk.index].num_missing == 0) return;
  const uint64_t* missing = chunk.bits(column.missing);
  for (uint32_t at = 0; at < chunk.num_words(); ++at) words[at] &= ~missing[at];
}

// An integer, or a code of a dictionary, lies in one of some intervals.
class IntegersCondition : public Condition {
 public:
  IntegersCondition(const ColumnView& column, const std::vector<int64_t>& low,
                    const std::vector<int64_t>& high)
      : column_(column),
        intervals_(low, high, limits_of(column.type).low, limits_of(column.type).high) {
    const std::vector<Interval<int64_t>>& sorted = intervals_.sorted();
    if (sorted.size() < 2) return;
    if (width_index(column.type) < 2 || column.has_codes()) {
      lookup_ = Lookup::of_table(intervals_, column.type, column.num_codes());
      return;
    }
    std::vector<uint64_t> keys;
    for (const Interval<int64_t>& one : sorted) {
      if (one.low != one.high) return;
      keys.push_back(static_cast<uint64_t>(one.low) &
                     (cell_bytes(column.type) == 4 ? 0xffffffffu : ~uint64_t{0}));
    }
    lookup_ = Lookup::of_keys(std::move(keys), column.type);
  }

  Content expect(const ChunkRange& chunk) const override {
    return intervals_.expect(column_.integer_zones[chunk.index]);
  }

  Content fill(const ChunkRange& chunk, uint64_t* words, ChunkWords*) const override {
    const auto near = intervals_.near(column_.integer_zones[chunk.index]);
    if (lookup_ != nullptr && lookup_->beats(near.end - near.begin)) {
      lookup_->fill(chunk.values(column_), chunk.size, words);
    } else {
      const auto in_range = item_kernels().in_range[width_index(column_.type)];
      for (auto one = near.begin; one < near.end; ++one) {
        in_range(chunk.values(column_), chunk.size, static_cast<uint64_t>(one->low),
                 static_cast<uint64_t>(one->high) - static_cast<uint64_t>(one->low),
                 one > near.begin, words);
      }
    }
    clear_missing(column_, chunk, words);
    return Content::kMixed;
  }

  double cost() const override { return cell_bytes(column_.type); }

 private:
  const ColumnView& column_;
  Intervals<int64_t> intervals_;
  std::unique_ptr<const Lookup> lookup_;
};

std::vector<uint64_t> keys_of(const std::vector<Interval<double>>& points, CellType type) {
  std::vector<uint64_t> keys;
  for (const Interval<double>& point : points) {
    if (point.low != point.high) return {};
    // 0 and -0 are one number of two forms.
    const double both[] = {point.low, -point.low};
    for (int i = 0; i < (point.low == 0 ? 2 : 1); ++i) {
      keys.push_back(type == CellType::kFloat32 ? bits_of(static_cast<float>(both[i]))
                                                : bits_of(both[i]));
    }
  }
  return keys;
}

// The least float that is not below `value`, which is no NaN.
double float_from(double value) {
  const auto near = static_cast<float>(value);
  return near >= value ? near : std::nextafter(near, std::numeric_limits<float>::infinity());
}

std::vector<double> as_cells(std::vector<double> values, CellType type, double sign) {
  if (type == CellType::kFloat64) return values;
  for (double& value : values) value = sign * float_from(sign * value);
  return values;
}

// A real lies in one of some intervals.
class RealsCondition : public Condition {
 public:
  RealsCondition(const ColumnView& column, const std::vector<double>& low,
                 const std::vector<double>& high)
      : column_(column),
        intervals_(as_cells(low, column.type, 1), as_cells(high, column.type, -1), -kInfinity,
                   kInfinity) {
    if (intervals_.sorted().size() < 2) return;
    std::vector<uint64_t> keys = keys_of(intervals_.sorted(), column.type);
    if (!keys.empty()) lookup_ = Lookup::of_keys(std::move(keys), column.type);
  }

  Content expect(const ChunkRange& chunk) const override {
    return intervals_.expect(column_.real_zones[chunk.index]);
  }

  Content fill(const ChunkRange& chunk, uint64_t* words, ChunkWords*) const override {
    const auto near = intervals_.near(column_.real_zones[chunk.index]);
    if (lookup_ != nullptr && lookup_->beats(near.end - near.begin)) {
      lookup_->fill(chunk.values(column_), chunk.size, words);
      return Content::kMixed;
    }
    const auto in_range = item_kernels().in_real_range[column_.type == CellType::kFloat64];
    for (auto one = near.begin; one < near.end; ++one) {
      in_range(chunk.values(column_), chunk.size, one->low, one->high, one > near.begin, words);
    }
    return Content::kMixed;
  }

  double cost() const override { return cell_bytes(column_.type); }

 private:
  const ColumnView& column_;
  Intervals<double> intervals_;
  std::unique_ptr<const Lookup> lookup_;
};

// The bits of a column as they are: those that are set, or those that are missing.
class BitsCondition : public Condition {
 public:
  explicit BitsCondition(const void* bits) : bits_(bits) {}

  Content expect(const ChunkRange&) const override {
    return bits_ == nullptr ? Content::kNothing : Content::kMixed;
  }

  Content fill(const ChunkRange& chunk, uint64_t* words, ChunkWords*) const override {
    std::copy_n(chunk.bits(bits_), chunk.num_words(), words);
    return Content::kMixed;
  }

  double cost() const override { return 0.125; }

 private:
  const void* bits_;  // null: none is set
};

// No category, or NaN.
class AbsentCondition : public Condition {
 public:
  explicit AbsentCondition(const ColumnView& column) : column_(column) {}

  Content expect(const ChunkRange& chunk) const override {
    const uint64_t num_missing = column_.has_codes()
                                     ? column_.integer_zones[chunk.index].num_missing
                                     : column_.real_zones[chunk.index].num_missing;
    if (num_missing == 0) return Content::kNothing;
    return num_missing == chunk.size ? Content::kEverything : Content::kMixed;
  }

  Content fill(const ChunkRange& chunk, uint64_t* words, ChunkWords*) const override {
    const ItemKernels& kernels = item_kernels();
    const void* values = chunk.values(column_);
    if (column_.has_codes()) {
      const uint64_t from = column_.num_codes();
      const auto limit = static_cast<uint64_t>(limits_of(column_.type).high);
      kernels.in_range[width_index(column_.type)](values, chunk.size, from, limit - from, false,
                                                  words);
    } else {
      kernels.in_real_range[column_.type == CellType::kFloat64](values, chunk.size, -kInfinity,
                                                                kInfinity, false, words);
      invert(words, chunk.num_words());
    }
    return Content::kMixed;
  }

  double cost() const override { return cell_bytes(column_.type); }

 private:
  const ColumnView& column_;
};

class NotCondition : public Condition {
 public:
  explicit NotCondition(ConditionHandle condition) : condition_(std::move(condition)) {}

  Content expect(const ChunkRange& chunk) const override {
    return opposite(condition_->expect(chunk));
  }

  Content fill(const ChunkRange& chunk, uint64_t* words, ChunkWords* scratch) const override {
    const Content content = condition_->fill(chunk, words, scratch);
    if (content == Content::kMixed) invert(words, chunk.num_words());
    return opposite(content);
  }

  double cost() const override { return condition_->cost(); }

 private:
  static Content opposite(Content content) {
    if (content == Content::kMixed) return content;
    return content == Content::kNothing ? Content::kEverything : Content::kNothing;
  }

  ConditionHandle condition_;
};

// All of some conditions, or any. What decides a join at once ("decisive") is that one of its
// conditions meets nothing, or everything; what says nothing ("neutral") is the opposite.
class JoinCondition : public Condition {
 public:
  JoinCondition(bool all, std::vector<ConditionHandle> conditions)
      : decisive_(all ? Content::kNothing : Content::kEverything),
        neutral_(all ? Content::kEverything : Content::kNothing),
        conditions_(std::move(conditions)) {
    std::stable_sort(
        conditions_.begin(), conditions_.end(),
        [](const ConditionHandle& a, const ConditionHandle& b) { return a->cost() < b->cost(); });
  }

  Content expect(const ChunkRange& chunk) const override {
    Content content = neutral_;
    for (const ConditionHandle& condition : conditions_) {
      const Content one = condition->expect(chunk);
      if (one == decisive_) return decisive_;
      if (one == Content::kMixed) content = Content::kMixed;
    }
    return content;
  }

  Content fill(const ChunkRange& chunk, uint64_t* words, ChunkWords* scratch) const override {
    Content content = neutral_;
    for (const ConditionHandle& condition : conditions_) {
      uint64_t* const target = content == neutral_ ? words : scratch->words;
      const Content one = condition->evaluate(chunk, target, scratch + 1);
      if (one == decisive_) return decisive_;
      if (one == neutral_) continue;
      if (content == Content::kMixed) join(target, words, chunk.num_words());
      content = Content::kMixed;
      // Only for `all`: bits past the last item keep words from being all ones.
      if (decisive_ == Content::kNothing && !any_bit(words, chunk.num_words())) return decisive_;
    }
    return content;
  }

  double cost() const override {
    double sum = 0;
    for (const ConditionHandle& condition : conditions_) sum += condition->cost();
    return sum;
  }

 private:
  void join(const uint64_t* one, uint64_t* words, uint32_t n) const {
    if (decisive_ == Content::kNothing) {
      for (uint32_t at = 0; at < n; ++at) words[at] &= one[at];
    } else {
      for (uint32_t at = 0; at < n; ++at) words[at] |= one[at];
    }
  }

  Content decisive_;
  Content neutral_;
  std::vector<ConditionHandle> conditions_;
};

// The code of a text, or -1.
int64_t code_of(const ColumnView& column, std::string_view text) {
  uint32_t low = 0;
  uint32_t high = column.num_categories;
  while (low < high) {
    const uint32_t middle = low + (high - low) / 2;
    if (column.category(middle) < text) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  const bool found = low < column.num_categories && column.category(low) == text;
  return found ? int64_t{low} : -1;
}

// Codes of the lists that hold a category of `wanted` [num_categories].
std::vector<int64_t> lists_with(const ColumnView& column, const std::vector<bool>& wanted) {
  std::vector<int64_t> codes;
  for (uint32_t code = 0; code < column.num_lists; ++code) {
    const auto list = column.list(code);
    const bool found = std::any_of(list.begin, list.end, [&](uint32_t value) {
      return value < wanted.size() && wanted[value];
    });
    if (found) codes.push_back(code);
  }
  return codes;
}

}  // namespace

ConditionHandle integers_condition(const ColumnView& column, const std::vector<int64_t>& low,
                                   const std::vector<int64_t>& high) {
  return std::make_unique<IntegersCondition>(column, low, high);
}

ConditionHandle reals_condition(const ColumnView& column, const std::vector<double>& low,
                                const std::vector<double>& high) {
  return std::make_unique<RealsCondition>(column, low, high);
}

ConditionHandle texts_condition(const ColumnView& column, const std::vector<std::string>& texts) {
  std::vector<bool> wanted(column.num_categories);
  for (const std::string& text : texts) {
    const int64_t code = code_of(column, text);
    if (code >= 0) wanted[code] = true;
  }
  std::vector<int64_t> codes;
  if (column.kind == ColumnKind::kCategories) {
    codes = lists_with(column, wanted);
  } else {
    for (uint32_t code = 0; code < wanted.size(); ++code) {
      if (wanted[code]) codes.push_back(code);
    }
  }
  // Runs of codes: dictionaries are sorted, so what begins alike is often one run.
  std::vector<int64_t> low;
  std::vector<int64_t> high;
  for (const int64_t code : codes) {
    if (high.empty() || high.back() + 1 != code) {
      low.push_back(code);
      high.push_back(code);
    }
    high.back() = code;
  }
  return integers_condition(column, low, high);
}

ConditionHandle true_condition(const ColumnView& column) {
  return std::make_unique<BitsCondition>(column.values);
}

ConditionHandle missing_condition(const ColumnView& column) {
  if (column.has_codes() || column.kind == ColumnKind::kReal) {
    return std::make_unique<AbsentCondition>(column);
  }
  return std::make_unique<BitsCondition>(column.missing);
}

ConditionHandle all_conditions(std::vector<ConditionHandle> conditions) {
  return std::make_unique<JoinCondition>(true, std::move(conditions));
}

ConditionHandle any_condition(std::vector<ConditionHandle> conditions) {
  return std::make_unique<JoinCondition>(false, std::move(conditions));
}

ConditionHandle not_condition(ConditionHandle condition) {
  return std::make_unique<NotCondition>(std::move(condition));
}

}  // namespace onesearch
