// What a live store was built from last: a trie and the columns beside it, in a folder of their
// own. Immutable; updates lie over it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "index/item_columns.h"
#include "index/sid_trie.h"

namespace onesearch {

class Generation {
 public:
  // Writes a new generation into `folder`, which must not exist, and maps it from there. The trie's
  // kept scores are the items', all 0 when it keeps none; `columns` may be null.
  static std::shared_ptr<const Generation> save(const std::string& folder, uint64_t number,
                                                const SidTrie& trie, const ItemColumns* columns);

  static std::shared_ptr<const Generation> load(const std::string& folder, uint64_t number,
                                                bool verify);

  uint64_t number() const { return number_; }
  const SidTrie& trie() const { return *trie_; }
  const ItemColumnsHandle& columns() const { return columns_; }  // null: the store has none
  size_t nbytes() const { return trie_->nbytes() + (columns_ ? columns_->nbytes() : 0); }

 private:
  Generation(uint64_t number, std::shared_ptr<const SidTrie> trie, ItemColumnsHandle columns)
      : number_(number), trie_(std::move(trie)), columns_(std::move(columns)) {}

  uint64_t number_;
  std::shared_ptr<const SidTrie> trie_;
  ItemColumnsHandle columns_;
};

}  // namespace onesearch
