#include "index/item_set.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <numeric>

#include "cpu/thread_pool.h"
#include "index/item_kernels.h"

namespace onesearch {
namespace {

constexpr int64_t kChunksPerTask = 4;
constexpr std::align_val_t kChunkAlignment{64};

struct alignas(64) ChunkWords {
  uint64_t words[ItemChunk::kWords];
};

struct alignas(64) ConstantBlocks {
  uint64_t zeros[ItemChunk::kBlockWords];
  uint64_t ones[ItemChunk::kBlockWords];
};
constexpr uint64_t kOnes = ~uint64_t{0};
constexpr ConstantBlocks kConstantBlocks{{},
                                         {kOnes, kOnes, kOnes, kOnes, kOnes, kOnes, kOnes, kOnes}};

struct ConstantChunk {
  explicit ConstantChunk(uint8_t slot) : blocks(kConstantBlocks) {
    std::memset(header.slot, slot, sizeof header.slot);
    for (uint32_t block = 0; block < ItemChunk::kBlocks; ++block) {
      header.before[block] =
          static_cast<uint16_t>(slot == ItemChunk::kFull ? block * ItemChunk::kBlockBits : 0);
    }
  }

  alignas(64) ItemChunk header;
  ConstantBlocks blocks;
};

void delete_chunk(const ItemChunk* chunk) {
  ::operator delete(const_cast<ItemChunk*>(chunk), kChunkAlignment);
}

// Clears the bits past the first `n` of a chunk.
void clear_past(uint64_t* words, uint32_t n) {
  if (n == ItemChunk::kBits) return;
  if (n % 64 != 0) words[n / 64] &= (uint64_t{1} << (n % 64)) - 1;
  std::fill(words + (n + 63) / 64, words + ItemChunk::kWords, 0);
}

void copy_words(const ItemChunk& chunk, uint64_t* words) {
  for (uint32_t block = 0; block < ItemChunk::kBlocks; ++block) {
    std::memcpy(words + block * ItemChunk::kBlockWords, chunk.block(block),
                ItemChunk::kBlockBits / 8);
  }
}

void combine_words(ItemSet::Operation operation, uint64_t* a, const uint64_t* b) {
  switch (operation) {
    case ItemSet::Operation::kAnd:
      for (uint32_t at = 0; at < ItemChunk::kWords; ++at) a[at] &= b[at];
      return;
    case ItemSet::Operation::kOr:
      for (uint32_t at = 0; at < ItemChunk::kWords; ++at) a[at] |= b[at];
      return;
    case ItemSet::Operation::kAndNot:
      for (uint32_t at = 0; at < ItemChunk::kWords; ++at) a[at] &= ~b[at];
      return;
  }
}

// Positions grouped by chunk: those of chunk c are sorted[begin[c]] to sorted[begin[c + 1]].
struct GroupedPositions {
  GroupedPositions(const uint32_t* positions, size_t n, uint32_t num_chunks)
      : begin(num_chunks + 2), sorted(n) {
    for (size_t i = 0; i < n; ++i) ++begin[positions[i] / ItemChunk::kBits + 2];
    std::partial_sum(begin.begin(), begin.end(), begin.begin());
    for (size_t i = 0; i < n; ++i) {
      sorted[begin[positions[i] / ItemChunk::kBits + 1]++] = positions[i];
    }
  }

  std::vector<size_t> begin;
  std::vector<uint32_t> sorted;
};

}  // namespace

// Where the blocks of a chunk lie, and how many members each has.
struct ItemSet::Blocks {
  const uint64_t* words[ItemChunk::kBlocks];
  uint16_t counts[ItemChunk::kBlocks];
};

ItemSet::Chunk ItemSet::constant(Content content) {
  static const ConstantChunk nothing(ItemChunk::kEmpty);
  static const ConstantChunk everything(ItemChunk::kFull);
  // Owned by nobody: no reference count that all sets of the process would fight for.
  return Chunk(Chunk(), content == Content::kNothing ? &nothing.header : &everything.header);
}

ItemSet::Chunk ItemSet::pack(const Blocks& blocks) {
  ItemChunk header;
  uint8_t slots = 2;
  uint32_t count = 0;
  for (uint32_t block = 0; block < ItemChunk::kBlocks; ++block) {
    header.before[block] = static_cast<uint16_t>(count);
    count += blocks.counts[block];
    const bool empty = blocks.counts[block] == 0;
    const bool full = blocks.counts[block] == ItemChunk::kBlockBits;
    header.slot[block] = empty ? ItemChunk::kEmpty : full ? ItemChunk::kFull : slots++;
  }
  if (count == 0) return constant(Content::kNothing);
  if (count == ItemChunk::kBits) return constant(Content::kEverything);
  const size_t bytes = sizeof header + slots * sizeof(uint64_t) * ItemChunk::kBlockWords;
  void* const memory = ::operator new(bytes, kChunkAlignment);
  std::memcpy(memory, &header, sizeof header);
  auto* words = reinterpret_cast<uint64_t*>(static_cast<ItemChunk*>(memory) + 1);
  std::memcpy(words, &kConstantBlocks, sizeof kConstantBlocks);
  for (uint32_t block = 0; block < ItemChunk::kBlocks; ++block) {
    if (header.slot[block] <= ItemChunk::kFull) continue;
    std::copy_n(blocks.words[block], ItemChunk::kBlockWords,
                words + header.slot[block] * ItemChunk::kBlockWords);
  }
  return Chunk(static_cast<const ItemChunk*>(memory), &delete_chunk);
}

ItemSet::Chunk ItemSet::pack(Content content, uint64_t* words, uint32_t num_items) {
  if (content == Content::kNothing) return constant(content);
  if (content == Content::kEverything) {
    if (num_items == ItemChunk::kBits) return constant(content);
    std::fill_n(words, ItemChunk::kWords, kOnes);
  }
  clear_past(words, num_items);
  Blocks blocks;
  item_kernels().count_blocks(words, blocks.counts);
  for (uint32_t block = 0; block < ItemChunk::kBlocks; ++block) {
    blocks.words[block] = words + block * ItemChunk::kBlockWords;
  }
  return pack(blocks);
}

ItemSet::Chunk ItemSet::edit(const ItemChunk& chunk, const uint32_t* positions, size_t n,
                             bool member) {
  ChunkWords edited;
  Blocks blocks;
  for (uint32_t block = 0; block < ItemChunk::kBlocks; ++block) {
    blocks.words[block] = chunk.block(block);
    blocks.counts[block] = static_cast<uint16_t>(chunk.block_count(block));
  }
  for (size_t i = 0; i < n; ++i) {
    const uint32_t in_chunk = positions[i] % ItemChunk::kBits;
    const uint32_t block = in_chunk / ItemChunk::kBlockBits;
    uint64_t* const words = edited.words + block * ItemChunk::kBlockWords;
    if (blocks.words[block] != words) {
      std::copy_n(blocks.words[block], ItemChunk::kBlockWords, words);
      blocks.words[block] = words;
    }
    uint64_t& word = edited.words[in_chunk / 64];
    const uint64_t bit = uint64_t{1} << (in_chunk % 64);
    if (((word & bit) != 0) == member) continue;
    word ^= bit;
    blocks.counts[block] = static_cast<uint16_t>(blocks.counts[block] + (member ? 1 : -1));
  }
  return pack(blocks);
}

ItemSet::ItemSet(uint32_t num_items) : num_items_(num_items) {
  const size_t num_chunks = (size_t{num_items} + ItemChunk::kBits - 1) / ItemChunk::kBits;
  const Chunk nothing = constant(Content::kNothing);
  chunks_.assign(num_chunks, nothing.get());
  before_.assign(num_chunks + 1, 0);
  for (size_t chunk = 0; chunk < num_chunks; chunk += kPageChunks) {
    pages_.push_back(std::make_shared<Page>());
    pages_.back()->fill(nothing);
  }
}

uint32_t ItemSet::chunk_items(uint32_t chunk) const {
  return std::min(ItemChunk::kBits, num_items_ - chunk * ItemChunk::kBits);
}

ItemSet::Content ItemSet::content(uint32_t chunk) const {
  const uint32_t count = before_[chunk + 1] - before_[chunk];
  if (count == 0) return Content::kNothing;
  return count == chunk_items(chunk) ? Content::kEverything : Content::kMixed;
}

const ItemSet::Chunk& ItemSet::owner(uint32_t chunk) const {
  return (*pages_[chunk / kPageChunks])[chunk % kPageChunks];
}

void ItemSet::put(uint32_t chunk, Chunk replacement) {
  chunks_[chunk] = replacement.get();
  (*pages_[chunk / kPageChunks])[chunk % kPageChunks] = std::move(replacement);
}

void ItemSet::count_members() {
  for (uint32_t chunk = 0; chunk < num_chunks(); ++chunk) {
    before_[chunk + 1] = before_[chunk] + chunks_[chunk]->count();
  }
}

ItemSetHandle ItemSet::everything(uint32_t num_items) {
  return make(num_items, [](uint32_t, uint64_t*) { return Content::kEverything; });
}

ItemSetHandle ItemSet::nothing(uint32_t num_items) {
  return std::shared_ptr<const ItemSet>(new ItemSet(num_items));
}

ItemSetHandle ItemSet::make(uint32_t num_items, const FillChunk& fill) {
  const std::shared_ptr<ItemSet> set(new ItemSet(num_items));
  parallel_for(set->num_chunks(), kChunksPerTask, [&](int64_t begin, int64_t end) {
    ChunkWords scratch;
    for (auto chunk = static_cast<uint32_t>(begin); chunk < end; ++chunk) {
      const Content content = fill(chunk, scratch.words);
      set->put(chunk, pack(content, scratch.words, set->chunk_items(chunk)));
    }
  });
  set->count_members();
  return set;
}

ItemSetHandle ItemSet::from_words(uint32_t num_items, const uint64_t* words) {
  const size_t num_words = (size_t{num_items} + 63) / 64;
  return make(num_items, [=](uint32_t chunk, uint64_t* out) {
    const size_t begin = size_t{chunk} * ItemChunk::kWords;
    std::copy_n(words + begin, std::min<size_t>(ItemChunk::kWords, num_words - begin), out);
    return Content::kMixed;
  });
}

ItemSet::Chunk ItemSet::combined(Operation operation, const ItemSet& other, uint32_t chunk) const {
  const Content a = content(chunk);
  const Content b = other.content(chunk);
  const Chunk nothing = constant(Content::kNothing);
  switch (operation) {
    case Operation::kAnd:
      if (a == Content::kNothing || b == Content::kEverything) return owner(chunk);
      if (b == Content::kNothing || a == Content::kEverything) return other.owner(chunk);
      break;
    case Operation::kOr:
      if (a == Content::kEverything || b == Content::kNothing) return owner(chunk);
      if (b == Content::kEverything || a == Content::kNothing) return other.owner(chunk);
      break;
    case Operation::kAndNot:
      if (a == Content::kNothing || b == Content::kNothing) return owner(chunk);
      if (b == Content::kEverything) return nothing;
      break;
  }
  ChunkWords left;
  ChunkWords right;
  copy_words(*chunks_[chunk], left.words);
  copy_words(*other.chunks_[chunk], right.words);
  combine_words(operation, left.words, right.words);
  return pack(Content::kMixed, left.words, chunk_items(chunk));
}

ItemSetHandle ItemSet::combine(Operation operation, const ItemSet& a, const ItemSet& b) {
  const std::shared_ptr<ItemSet> set(new ItemSet(a.num_items_));
  parallel_for(set->num_chunks(), kChunksPerTask, [&](int64_t begin, int64_t end) {
    for (auto chunk = static_cast<uint32_t>(begin); chunk < end; ++chunk) {
      set->put(chunk, a.combined(operation, b, chunk));
    }
  });
  set->count_members();
  return set;
}

ItemSetHandle ItemSet::with(const uint32_t* positions, size_t n, bool member) const {
  const GroupedPositions grouped(positions, n, num_chunks());
  const std::shared_ptr<ItemSet> set(new ItemSet(*this));
  uint32_t gained = 0;  // modulo 2^32
  for (uint32_t chunk = 0; chunk < num_chunks(); ++chunk) {
    const size_t begin = grouped.begin[chunk];
    const size_t end = grouped.begin[chunk + 1];
    if (begin < end) {
      std::shared_ptr<Page>& page = set->pages_[chunk / kPageChunks];
      if (page == pages_[chunk / kPageChunks]) page = std::make_shared<Page>(*page);
      set->put(chunk, edit(*chunks_[chunk], grouped.sorted.data() + begin, end - begin, member));
      gained += set->chunks_[chunk]->count() - chunks_[chunk]->count();
    }
    set->before_[chunk + 1] += gained;
  }
  return set;
}

ItemSetHandle ItemSet::with_set(const uint32_t* positions, size_t n) const {
  return with(positions, n, true);
}

ItemSetHandle ItemSet::with_cleared(const uint32_t* positions, size_t n) const {
  return with(positions, n, false);
}

ItemSetView ItemSet::view() const {
  if (count() == num_items_) return {};
  return {chunks_.data(), before_.data()};
}

void ItemSet::to_words(uint64_t* words) const {
  const size_t num_words = (size_t{num_items_} + 63) / 64;
  parallel_for(num_chunks(), kChunksPerTask, [&](int64_t begin, int64_t end) {
    ChunkWords scratch;
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      const size_t first = static_cast<size_t>(chunk) * ItemChunk::kWords;
      copy_words(*chunks_[chunk], scratch.words);
      std::copy_n(scratch.words, std::min<size_t>(ItemChunk::kWords, num_words - first),
                  words + first);
    }
  });
}

size_t ItemSet::nbytes() const {
  size_t bytes = sizeof *this + chunks_.size() * (sizeof chunks_[0] + sizeof before_[0]);
  bytes += pages_.size() * sizeof(Page);
  for (const ItemChunk* chunk : chunks_) {
    const uint8_t last_slot = *std::max_element(chunk->slot, chunk->slot + ItemChunk::kBlocks);
    if (last_slot <= ItemChunk::kFull) continue;
    bytes += sizeof(ItemChunk) + (last_slot + 1) * sizeof(uint64_t) * ItemChunk::kBlockWords;
  }
  return bytes;
}

}  // namespace onesearch
