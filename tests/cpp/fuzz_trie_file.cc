#include "fuzz_trie_file.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "beam_step.h"
#include "core/error.h"
#include "core/hash.h"
#include "fuzz_targets.h"
#include "index/item_codes.h"
#include "index/item_filter.h"
#include "index/node_statistic.h"
#include "memory_file.h"

namespace onesearch::testing {
namespace {

// Every section in a block of its own, so that AddressSanitizer sees a read past any of them; in
// the file they lie side by side.
class SeparateSections {
 public:
  explicit SeparateSections(const SidTrie& trie) {
    auto& view = const_cast<SidTrieView&>(trie.view());
    for (int level = 0; level < view.num_levels; ++level) {
      separate(view.child_partition[level]);
      auto* tokens = static_cast<const uint8_t*>(view.child_token[level]);
      separate(tokens, size_t{view.num_nodes[level + 1]} * view.token_bytes(level));
      view.child_token[level] = tokens;
    }
    for (Partition& items : view.item_partition) separate(items);
    separate(view.item_ids, view.num_items);
    separate(view.item_rows, view.num_items);
    separate(view.position_by_id, view.num_items);
    separate(view.item_scores, view.num_items);
  }

 private:
  void separate(Partition& partition) {
    separate(partition.offsets, size_t{partition.num_parts} + 1);
    separate(partition.words, partition.num_words());
  }

  template <class T>
  void separate(const T*& section, size_t count) {
    if (section == nullptr) return;
    auto block = std::make_unique<unsigned char[]>(count * sizeof(T));
    std::memcpy(block.get(), section, count * sizeof(T));
    section = reinterpret_cast<const T*>(block.get());
    blocks_.push_back(std::move(block));
  }

  std::vector<std::unique_ptr<unsigned char[]>> blocks_;
};

// The first 200 of [-1, n], and with them what does not exist on either side of a small n.
template <class Query>
void for_some(int64_t n, const Query& query) {
  for (int64_t i = -1; i <= std::min<int64_t>(n, 200); ++i) query(i);
}

void query_items(const SidTrie& trie) {
  const SidTrieView& view = trie.view();
  for_some(view.num_sids() - 1, [&](int64_t rank) {
    std::vector<int32_t> codes(view.num_levels);
    trie.codes(&rank, 1, codes.data());
    int64_t found;
    trie.rank(tensor(codes, DType::kInt32, {1, view.num_levels}), &found);
    int64_t offsets[2];
    trie.item_offsets(&rank, 1, offsets);
    std::vector<int64_t> items(static_cast<size_t>(offsets[1]));
    trie.items(&rank, 1, offsets, items.data());
    trie.rank_of(items.data(), offsets[1], items.data());
    item_codes(trie.catalogue_view(), &rank, 1, codes.data());
  });
  for_some(view.num_items, [&](int64_t position) {
    int64_t rank;
    if (position >= 0 && position < view.num_items) trie.rank_at(&position, 1, &rank);
    trie.rank_of(&position, 1, &rank);
  });
}

void query_children(const SidTrie& trie, int level) {
  for_some(trie.view().num_nodes[level], [&](int64_t node) {
    int64_t range[2];
    int64_t offsets[2];
    trie.child_range(level, &node, 1, range, range + 1);
    trie.child_offsets(level, &node, 1, offsets);
    std::vector<int32_t> tokens(static_cast<size_t>(offsets[1]));
    trie.child_tokens(level, &node, 1, offsets, tokens.data());
    for (const int64_t token : {-1, 0, 3, 65535, 65536}) {
      int64_t child;
      trie.child(level, &node, &token, 1, &child);
    }
  });
}

void query_nodes(const SidTrie& trie, const ItemFilter& filter) {
  const SidTrieView& view = trie.view();
  const std::vector<float> values(view.num_items, 1.0f);
  for (int level = 0; level <= view.num_levels; ++level) {
    if (level < view.num_levels) query_children(trie, level);
    for_some(view.num_nodes[level], [&](int64_t node) {
      int64_t begin;
      int64_t end;
      bool allowed;
      trie.rank_range(level, &node, 1, &begin, &end);
      trie.item_range(level, &node, 1, &begin, &end);
      filter.allows(level, &node, 1, &allowed);
    });
    std::vector<float> statistic(view.num_nodes[level]);
    for (const auto kind : {NodeStatistic::Kind::kMean, NodeStatistic::Kind::kQuantile}) {
      node_statistic(view, level, {kind, 0.3}, values.data(), statistic.data());
    }
  }
  std::vector<float> by_position(view.num_items);
  order_by_position(view, values.data(), by_position.data());
}

void query_step(const SidTrie& trie, const ItemFilter& filter) {
  const SidTrieView& view = trie.view();
  const CatalogueFilterView filter_view = filter.view();
  const CatalogueFilterView* const filters[] = {&filter_view};
  for (int level = 0; level < view.num_levels; ++level) {
    // Logits of a hostile level size are memory of ours, so it is bounded.
    if (view.level_sizes[level] > 4096) continue;
    const Normalizer normalizer = level % 2 == 0 ? Normalizer::kLevel : Normalizer::kChildren;
    Step step(static_cast<uint32_t>(level), trie.catalogue_view(), level, 1, level == 0 ? 1 : 5, 8,
              normalizer);
    step.input.filters = {filters, 1};
    step.run();
  }
}

template <class T>
T* at(std::vector<uint8_t>& bytes, size_t offset) {
  return reinterpret_cast<T*>(bytes.data() + offset);
}

}  // namespace

std::shared_ptr<const SidTrie> load_bytes(const std::vector<uint8_t>& bytes, bool verify) {
  const MemoryFile file(bytes.data(), bytes.size());
  try {
    return SidTrie::load(file.path(), verify);
  } catch (const FormatError&) {
    return nullptr;
  }
}

void reseal(std::vector<uint8_t>& bytes) {
  if (bytes.size() < sizeof(TrieHeader)) return;
  TrieHeader& header = *at<TrieHeader>(bytes, 0);
  const uint64_t table_end =
      sizeof(TrieHeader) + uint64_t{header.num_sections} * sizeof(SectionEntry);
  const uint64_t header_bytes = (table_end + 63) / 64 * 64;
  if (header_bytes > bytes.size()) return;
  for (uint32_t i = 0; i < header.num_sections; ++i) {
    SectionEntry& entry = *at<SectionEntry>(bytes, sizeof(TrieHeader) + i * sizeof(SectionEntry));
    const uint64_t padded = (entry.bytes + 63) / 64 * 64;
    if (entry.offset > bytes.size() || padded > bytes.size() - entry.offset) continue;
    entry.checksum = xxh64(bytes.data() + entry.offset, padded);
  }
  header.checksum = 0;
  header.checksum = xxh64(bytes.data(), header_bytes);
}

void query_everything(const std::shared_ptr<const SidTrie>& trie) {
  const SeparateSections sections(*trie);
  const std::vector<int64_t> ids = {0, 13, 7919 + 13, -5};
  const ItemSelection deny{nullptr, ids.data(), static_cast<int64_t>(ids.size())};
  const auto filter = ItemFilter::make(trie, nullptr, &deny);
  const auto mask = std::make_unique<bool[]>(trie->view().num_items);
  const ItemSelection allow{mask.get(), nullptr, 0};
  ItemFilter::make(trie, &allow, nullptr);
  query_items(*trie);
  query_nodes(*trie, *filter);
  query_step(*trie, *filter);
}

bool is_consistent(const SidTrie& trie) {
  const SidTrieView& view = trie.view();
  int64_t num_items = 0;
  for (int64_t rank = 0; rank < view.num_sids(); ++rank) {
    std::vector<int32_t> codes(view.num_levels);
    trie.codes(&rank, 1, codes.data());
    int64_t found = -1;
    trie.rank(tensor(codes, DType::kInt32, {1, view.num_levels}), &found);
    int64_t node = 0;
    for (int level = 0; level < view.num_levels; ++level) {
      node = view.child(level, node, codes[level]);
      const NodeRange ranks = view.ranks(level + 1, node);
      if (rank < ranks.begin || rank >= ranks.end) return false;
    }
    if (found != rank || view.items(rank).size() == 0) return false;
    num_items += view.items(rank).size();
  }
  return num_items == view.num_items;
}

void exercise(const std::vector<uint8_t>& bytes) {
  if (const auto trie = load_bytes(bytes, false)) query_everything(trie);
  const auto verified = load_bytes(bytes, true);
  if (verified == nullptr || is_consistent(*verified)) return;
  std::fprintf(stderr, "verified, and yet inconsistent\n");
  std::abort();
}

void fuzz_trie_file(const uint8_t* bytes, size_t size) {
  if (size == 0) return;
  std::vector<uint8_t> file(bytes + 1, bytes + size);
  if (bytes[0] % 2 == 1) reseal(file);
  exercise(file);
}

}  // namespace onesearch::testing
