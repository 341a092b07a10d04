#include "index/device_image.h"

#include <algorithm>
#include <cstring>
#include <vector>

namespace onesearch {
namespace {

Partition pack(const Partition& partition, ImagePacker* packer) {
  Partition packed = partition;
  packed.offsets = packer->array(partition.offsets, size_t{partition.num_parts} + 1);
  packed.words = packer->array(partition.words, partition.num_words());
  return packed;
}

// A chunk with the blocks behind it.
size_t bytes_of(const ItemChunk& chunk) {
  const uint32_t last = *std::max_element(chunk.slot, chunk.slot + ItemChunk::kBlocks);
  const size_t blocks = std::max<size_t>(last, ItemChunk::kFull) + 1;
  return sizeof(ItemChunk) + blocks * ItemChunk::kBlockBits / 8;
}

ItemSetView pack(const ItemSetView& set, uint32_t num_items, ImagePacker* packer) {
  if (set.is_everything()) return {};
  const size_t num_chunks = (size_t{num_items} + ItemChunk::kBits - 1) / ItemChunk::kBits;
  std::vector<const ItemChunk*> chunks(set.chunks, set.chunks + num_chunks);
  for (const ItemChunk*& chunk : chunks) {
    chunk = static_cast<const ItemChunk*>(packer->add(chunk, bytes_of(*chunk)));
  }
  return {packer->array(chunks.data(), num_chunks), packer->array(set.before, num_chunks + 1)};
}

}  // namespace

const void* ImagePacker::add(const void* from, size_t n) {
  if (from == nullptr) return nullptr;
  const size_t at = bytes();
  if (to_ != nullptr && n > 0) std::memcpy(to_ + at, from, n);
  end_ = at + n;
  return reinterpret_cast<const void*>(address_ + at);
}

SidTrieView pack_trie(const SidTrieView& trie, ImagePacker* packer) {
  SidTrieView packed = trie;
  for (int level = 0; level < trie.num_levels; ++level) {
    const size_t token_bytes = size_t{trie.num_nodes[level + 1]} * trie.token_bytes(level);
    packed.child_partition[level] = pack(trie.child_partition[level], packer);
    packed.child_token[level] = packer->add(trie.child_token[level], token_bytes);
  }
  for (int level = 0; level <= trie.num_levels; ++level) {
    if (trie.item_partition[level].num_parts == 0) continue;
    packed.item_partition[level] = pack(trie.item_partition[level], packer);
  }
  packed.item_ids = nullptr;
  packed.item_rows = nullptr;
  packed.position_by_id = nullptr;
  packed.item_scores = nullptr;
  return packed;
}

CatalogueView pack_changes(const CatalogueView& catalogue, ImagePacker* packer) {
  CatalogueView packed;
  packed.live_base = pack(catalogue.live_base, catalogue.base.num_items, packer);
  if (!catalogue.has_overlay()) return packed;
  const SidTrieView& overlay = catalogue.overlay;
  packed.overlay = pack_trie(overlay, packer);
  for (int level = 0; level <= overlay.num_levels; ++level) {
    packed.overlay_base[level] =
        packer->array(catalogue.overlay_base[level], overlay.num_nodes[level]);
  }
  packed.live_overlay = pack(catalogue.live_overlay, overlay.num_items, packer);
  return packed;
}

CatalogueFilterView pack_filter(const CatalogueFilterView& filter, const CatalogueView& catalogue,
                                ImagePacker* packer) {
  CatalogueFilterView packed;
  packed.base = pack(filter.base, catalogue.base.num_items, packer);
  if (!catalogue.has_overlay()) return packed;
  packed.overlay = pack(filter.overlay, catalogue.overlay.num_items, packer);
  return packed;
}

}  // namespace onesearch
