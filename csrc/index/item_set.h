// The owner of a set of items: immutable once made, safe to read from any number of threads. An
// altered set shares every chunk that it does not alter.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "index/item_set_view.h"

namespace onesearch {

class ItemSet;
using ItemSetHandle = std::shared_ptr<const ItemSet>;

class ItemSet {
 public:
  enum class Operation { kAnd, kOr, kAndNot };

  // What a chunk holds; its words are read only when it is mixed.
  enum class Content { kNothing, kEverything, kMixed };
  // Writes the [1024] words of a chunk; bits past the last item are ignored.
  using FillChunk = std::function<Content(uint32_t chunk, uint64_t* words)>;

  static ItemSetHandle everything(uint32_t num_items);
  static ItemSetHandle nothing(uint32_t num_items);

  // Chunks are filled in parallel, in any order.
  static ItemSetHandle make(uint32_t num_items, const FillChunk& fill);

  // words [ceil(num_items / 64)]
  static ItemSetHandle from_words(uint32_t num_items, const uint64_t* words);

  // Both sets are over the same number of items.
  static ItemSetHandle combine(Operation operation, const ItemSet& a, const ItemSet& b);

  // This set with the positions [n] added or taken away; any order, duplicates allowed. Cost: the
  // table of chunks (12 bytes for 65,536 items), and the chunks that hold one of the positions.
  ItemSetHandle with_set(const uint32_t* positions, size_t n) const;
  ItemSetHandle with_cleared(const uint32_t* positions, size_t n) const;

  // Its is_everything() holds exactly when every item is a member.
  ItemSetView view() const;

  uint32_t num_items() const { return num_items_; }
  uint32_t count() const { return before_.back(); }

  // words [ceil(num_items / 64)]; bits past the last item are zero.
  void to_words(uint64_t* words) const;

  // Chunks that other sets share count as well.
  size_t nbytes() const;

 private:
  using Chunk = std::shared_ptr<const ItemChunk>;
  // A level above the chunks, so that a copy of the table touches few reference counts.
  static constexpr uint32_t kPageChunks = 64;
  using Page = std::array<Chunk, kPageChunks>;
  struct Blocks;

  explicit ItemSet(uint32_t num_items);

  static Chunk constant(Content content);
  static Chunk pack(const Blocks& blocks);
  static Chunk pack(Content content, uint64_t* words, uint32_t num_items);
  static Chunk edit(const ItemChunk& chunk, const uint32_t* positions, size_t n, bool member);

  uint32_t num_chunks() const { return static_cast<uint32_t>(chunks_.size()); }
  uint32_t chunk_items(uint32_t chunk) const;
  Content content(uint32_t chunk) const;
  const Chunk& owner(uint32_t chunk) const;
  Chunk combined(Operation operation, const ItemSet& other, uint32_t chunk) const;
  ItemSetHandle with(const uint32_t* positions, size_t n, bool member) const;

  // Steps of making one: its pages are its own where chunks are put.
  void put(uint32_t chunk, Chunk replacement);
  void count_members();

  uint32_t num_items_;
  std::vector<std::shared_ptr<Page>> pages_;
  std::vector<const ItemChunk*> chunks_;
  std::vector<uint32_t> before_;  // [chunks + 1]
};

}  // namespace onesearch
