// What a live store was built from last: a trie and what stands beside it, in a folder of its own.
// Immutable; updates lie over it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "index/sid_trie.h"

namespace onesearch {

class Generation {
 public:
  // `trie` keeps its scores.
  Generation(uint64_t number, std::shared_ptr<const SidTrie> trie)
      : number_(number), trie_(std::move(trie)) {}

  // Writes a new generation into `folder`, which must not exist, and maps it from there.
  static std::shared_ptr<const Generation> save(const std::string& folder, uint64_t number,
                                                const SidTrie& trie);

  static std::shared_ptr<const Generation> load(const std::string& folder, uint64_t number,
                                                bool verify);

  uint64_t number() const { return number_; }
  const SidTrie& trie() const { return *trie_; }
  size_t nbytes() const { return trie_->nbytes(); }

 private:
  uint64_t number_;
  std::shared_ptr<const SidTrie> trie_;
};

}  // namespace onesearch
