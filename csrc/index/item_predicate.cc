#include "index/item_predicate.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "core/error.h"
#include "index/item_conditions.h"

namespace onesearch {
namespace {

using Node = ItemPredicate::Node;
using Kind = ItemPredicate::Kind;

constexpr char kWhere[] = "ItemPredicate";

void require(bool sound, const std::string& argument, const std::string& expected,
             const std::string& got) {
  if (!sound) throw InvalidArgument(complaint(kWhere, argument, expected, got));
}

const ColumnView& column_of(const Node& node, const ItemColumns& columns) {
  const ColumnView* column = columns.find(node.column);
  require(column != nullptr, "column", "one of the columns", "'" + node.column + "'");
  const bool fits = node.kind == Kind::kMissing ||
                    (node.kind == Kind::kIntegers && column->kind == ColumnKind::kInteger) ||
                    (node.kind == Kind::kReals && column->kind == ColumnKind::kReal) ||
                    (node.kind == Kind::kTexts && column->has_codes()) ||
                    (node.kind == Kind::kTrue && column->kind == ColumnKind::kBool);
  require(fits, node.column, "a condition on a column of its kind", column_kind_name(column->kind));
  return *column;
}

ConditionHandle compile(const ItemPredicate& predicate, const Node& node,
                        const ItemColumns& columns) {
  std::vector<ConditionHandle> parts;
  for (const uint32_t child : node.children) {
    parts.push_back(compile(predicate, predicate.node(child), columns));
  }
  switch (node.kind) {
    case Kind::kIntegers:
      return integers_condition(column_of(node, columns), node.low, node.high);
    case Kind::kReals:
      return reals_condition(column_of(node, columns), node.real_low, node.real_high);
    case Kind::kTexts:
      return texts_condition(column_of(node, columns), node.texts);
    case Kind::kTrue:
      return true_condition(column_of(node, columns));
    case Kind::kMissing:
      return missing_condition(column_of(node, columns));
    case Kind::kAll:
      return all_conditions(std::move(parts));
    case Kind::kAny:
      return any_condition(std::move(parts));
    case Kind::kNot:
      return not_condition(std::move(parts.front()));
  }
  return nullptr;
}

}  // namespace

ItemPredicate::Node& ItemPredicate::add(Kind kind, std::string column) {
  open_.push_back(static_cast<uint32_t>(nodes_.size()));
  nodes_.emplace_back();
  nodes_.back().kind = kind;
  nodes_.back().column = std::move(column);
  return nodes_.back();
}

void ItemPredicate::add_integers(std::string column, std::vector<int64_t> low,
                                 std::vector<int64_t> high) {
  require(low.size() == high.size(), column, "as many upper bounds as lower ones",
          std::to_string(high.size()));
  Node& node = add(Kind::kIntegers, std::move(column));
  node.low = std::move(low);
  node.high = std::move(high);
}

void ItemPredicate::add_reals(std::string column, std::vector<double> low,
                              std::vector<double> high) {
  require(low.size() == high.size(), column, "as many upper bounds as lower ones",
          std::to_string(high.size()));
  const auto is_nan = [](double bound) { return std::isnan(bound); };
  require(std::none_of(low.begin(), low.end(), is_nan) &&
              std::none_of(high.begin(), high.end(), is_nan),
          column, "bounds that are numbers", "NaN");
  Node& node = add(Kind::kReals, std::move(column));
  node.real_low = std::move(low);
  node.real_high = std::move(high);
}

void ItemPredicate::add_texts(std::string column, std::vector<std::string> texts) {
  add(Kind::kTexts, std::move(column)).texts = std::move(texts);
}

void ItemPredicate::add_true(std::string column) { add(Kind::kTrue, std::move(column)); }

void ItemPredicate::add_missing(std::string column) { add(Kind::kMissing, std::move(column)); }

void ItemPredicate::join_all(int64_t n) { join(Kind::kAll, n); }

void ItemPredicate::join_any(int64_t n) { join(Kind::kAny, n); }

void ItemPredicate::negate() { join(Kind::kNot, 1); }

void ItemPredicate::join(Kind kind, int64_t n) {
  require(n >= 0 && n <= static_cast<int64_t>(open_.size()), "n",
          "at most " + std::to_string(open_.size()) + " conditions", std::to_string(n));
  const std::vector<uint32_t> children(open_.end() - n, open_.end());
  int depth = 1;
  for (const uint32_t child : children) depth = std::max(depth, nodes_[child].depth + 1);
  require(depth <= kMaxDepth, "depth", "at most 64 levels", std::to_string(depth));
  open_.resize(open_.size() - static_cast<size_t>(n));
  Node& node = add(kind, "");
  node.children = children;
  node.depth = depth;
}

const ItemPredicate::Node& ItemPredicate::root() const {
  require(open_.size() == 1, "conditions", "one that joins all", std::to_string(open_.size()));
  return nodes_[open_.front()];
}

ItemSetHandle evaluate(const ItemPredicate& predicate, const ItemColumns& columns) {
  const Node& root = predicate.root();
  const ConditionHandle condition = compile(predicate, root, columns);
  const uint32_t num_items = columns.num_items();
  return ItemSet::make(num_items, [&](uint32_t index, uint64_t* words) {
    const ChunkRange chunk{index, std::min(ItemChunk::kBits, num_items - index * ItemChunk::kBits)};
    const ItemSet::Content expected = condition->expect(chunk);
    if (expected != ItemSet::Content::kMixed) return expected;
    const std::unique_ptr<ChunkWords[]> scratch(new ChunkWords[static_cast<size_t>(root.depth)]);
    return condition->fill(chunk, words, scratch.get());
  });
}

}  // namespace onesearch
