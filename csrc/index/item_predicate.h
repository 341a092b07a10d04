// A condition on the attributes of an item, and the set of the items that meet it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "index/item_columns.h"
#include "index/item_set.h"

namespace onesearch {

// Built in postfix order: conditions on columns first, then what joins them. A condition on a value
// that is missing does not hold, and its negation does.
//
//     predicate.add_integers("price", {10}, {50});
//     predicate.add_true("in_stock");
//     predicate.negate();
//     predicate.join_all(2);                       // price between 10 and 50 and not in_stock
class ItemPredicate {
 public:
  static constexpr int kMaxDepth = 64;

  enum class Kind { kIntegers, kReals, kTexts, kTrue, kMissing, kAll, kAny, kNot };

  struct Node {
    Kind kind;
    std::string column;              // of a condition
    std::vector<int64_t> low, high;  // kIntegers: closed intervals, any order; may be empty
    std::vector<double> real_low, real_high;  // kReals
    std::vector<std::string> texts;           // kTexts
    std::vector<uint32_t> children;           // kAll, kAny, kNot: indexes of nodes
    int depth = 1;
  };

  // The value lies in one of the closed intervals [low[i], high[i]].
  void add_integers(std::string column, std::vector<int64_t> low, std::vector<int64_t> high);
  void add_reals(std::string column, std::vector<double> low, std::vector<double> high);

  // The category is one of the texts; the list of categories holds one of them.
  void add_texts(std::string column, std::vector<std::string> texts);

  void add_true(std::string column);     // of a bool
  void add_missing(std::string column);  // of any kind

  // Each takes the last `n` conditions off and puts one in their place; of none, all of them hold
  // and not any.
  void join_all(int64_t n);
  void join_any(int64_t n);
  void negate();

  // The whole condition; throws InvalidArgument when there is not exactly one.
  const Node& root() const;
  const Node& node(uint32_t index) const { return nodes_[index]; }

 private:
  Node& add(Kind kind, std::string column);
  void join(Kind kind, int64_t n);

  std::vector<Node> nodes_;
  std::vector<uint32_t> open_;  // of those that nothing has joined yet
};

// The items whose columns meet the predicate. Throws InvalidArgument for a column that is not
// there, or of another kind than the condition. Cost: a read of the columns, once, where a chunk's
// least and greatest values do not decide it.
ItemSetHandle evaluate(const ItemPredicate& predicate, const ItemColumns& columns);

}  // namespace onesearch
