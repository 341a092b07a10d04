#include "index/snapshot.h"

#include <algorithm>
#include <string>
#include <utility>

#include "core/error.h"
#include "core/hash.h"

namespace onesearch {
namespace {

// The items of one of the two tries, as a merge of both reads them.
struct ItemList {
  const SidTrieView& trie;
  ItemSetView live;
  NodeRange rest;

  // Goes on to the next living item; false when there is none.
  bool settle() {
    while (rest.size() > 0 && !live.has(rest.begin)) ++rest.begin;
    return rest.size() > 0;
  }

  float score() const { return trie.item_scores == nullptr ? 0.0f : trie.item_scores[rest.begin]; }
  int64_t id() const { return trie.item_id(rest.begin); }
  int64_t take() { return trie.item_id(rest.begin++); }
};

bool comes_first(const ItemList& a, const ItemList& b) {
  if (a.score() != b.score()) return a.score() > b.score();
  return item_hash(a.id()) < item_hash(b.id());
}

void codes_of(const SidTrieView& trie, uint32_t rank, int32_t* codes) {
  uint32_t node = rank;
  for (int level = trie.num_levels; level > 0; --level) {
    codes[level - 1] = static_cast<int32_t>(trie.token(level - 1, node));
    node = trie.parent(level, node);
  }
}

uint32_t count_in(const ItemSetView& set, NodeRange positions) {
  return set.count_before(positions.end) - set.count_before(positions.begin);
}

}  // namespace

Snapshot::Content Snapshot::content_of(std::shared_ptr<const Generation> generation) {
  const SidTrieView& trie = generation->trie().view();
  Content content;
  content.live_base = ItemSet::everything(trie.num_items);
  content.num_live_base_sids = trie.num_sids();
  if (generation->columns() != nullptr) {
    content.attributes = std::make_shared<const Attributes>(generation->columns());
  }
  content.generation = std::move(generation);
  return content;
}

Snapshot::Snapshot(uint64_t version, Content content)
    : version_(version), content_(std::move(content)) {
  view_.base = content_.generation->trie().view();
  view_.live_base = content_.live_base->view();
  if (content_.overlay == nullptr) return;
  view_.overlay = content_.overlay->view();
  view_.live_overlay = content_.live_overlay->view();
  for (int level = 0; level <= num_levels(); ++level) {
    view_.overlay_base[level] = content_.overlay->base_nodes(level);
  }
}

const ItemColumnsHandle& Snapshot::overlay_columns() const {
  std::call_once(gathered_, [this] {
    if (content_.overlay == nullptr || content_.attributes == nullptr) return;
    overlay_columns_ = content_.attributes->gather(content_.overlay->attribute_rows(),
                                                   content_.overlay->num_items());
  });
  return overlay_columns_;
}

int64_t Snapshot::num_items() const {
  const int64_t overlay = content_.overlay == nullptr ? 0 : content_.live_overlay->count();
  return overlay + content_.live_base->count();
}

int64_t Snapshot::num_sids() const {
  std::call_once(counted_, [this] {
    const uint32_t ranks = view_.has_overlay() ? view_.overlay.num_sids() : 0;
    for (uint32_t rank = 0; rank < ranks; ++rank) {
      const int64_t base = content_.overlay->base_nodes(num_levels())[rank];
      num_overlay_sids_ += lives(num_levels(), {-1, rank}) && !lives(num_levels(), {base, -1});
    }
  });
  return content_.num_live_base_sids + num_overlay_sids_;
}

size_t Snapshot::nbytes() const {
  const size_t base = content_.generation->nbytes() + content_.live_base->nbytes();
  if (content_.overlay == nullptr) return base;
  return base + content_.overlay->nbytes() + content_.live_overlay->nbytes();
}

Snapshot::Parts Snapshot::parts_of(int level, int64_t node) const {
  Parts parts{view_.base_node(level, node), view_.overlay_node(level, node)};
  // A base rank whose SID the overlay has too is no node, so that all ranks together list every
  // item once.
  const bool base_rank = level == num_levels() && parts.overlay < 0 && parts.base >= 0;
  if (base_rank && overlay_has_sid(static_cast<uint32_t>(parts.base))) parts.base = -1;
  return parts;
}

bool Snapshot::overlay_has_sid(uint32_t base_rank) const {
  if (!view_.has_overlay()) return false;
  int32_t codes[SidTrieView::kMaxLevels];
  codes_of(view_.base, base_rank, codes);
  int64_t node = 0;
  for (int level = 0; level < num_levels() && node >= 0; ++level) {
    node = view_.overlay.child(level, node, codes[level]);
  }
  return node >= 0;
}

Snapshot::Parts Snapshot::child_of(int level, Parts parents, int64_t token) const {
  return {parents.base < 0 ? -1 : view_.base.child(level, parents.base, token),
          parents.overlay < 0 ? -1 : view_.overlay.child(level, parents.overlay, token)};
}

int64_t Snapshot::node_of(int level, Parts parts) const {
  if (parts.overlay < 0) return parts.base;
  return level == 0 ? parts.overlay : view_.base.num_nodes[level] + parts.overlay;
}

bool Snapshot::lives(int level, Parts parts) const {
  return (parts.base >= 0 && view_.live_base.any(view_.base.item_range(level, parts.base))) ||
         (parts.overlay >= 0 &&
          view_.live_overlay.any(view_.overlay.item_range(level, parts.overlay)));
}

void Snapshot::rank(const int64_t* codes, int64_t n, int64_t* ranks) const {
  for (int64_t row = 0; row < n; ++row, codes += num_levels()) {
    Parts parts{0, view_.has_overlay() ? 0 : -1};
    for (int level = 0; level < num_levels(); ++level) {
      parts = child_of(level, parts, codes[level]);
    }
    ranks[row] = lives(num_levels(), parts) ? node_of(num_levels(), parts) : -1;
  }
}

void Snapshot::codes(const int64_t* ranks, int64_t n, int32_t* codes) const {
  for (int64_t i = 0; i < n; ++i, codes += num_levels()) {
    check_rank("Snapshot.codes", ranks[i]);
    const int64_t overlay = view_.overlay_node(num_levels(), ranks[i]);
    if (overlay >= 0) {
      codes_of(view_.overlay, static_cast<uint32_t>(overlay), codes);
    } else if (ranks[i] >= 0) {
      codes_of(view_.base, static_cast<uint32_t>(ranks[i]), codes);
    } else {
      std::fill_n(codes, num_levels(), -1);
    }
  }
}

void Snapshot::child(int level, const int64_t* nodes, const int64_t* tokens, int64_t n,
                     int64_t* children) const {
  check_level("Snapshot.child", level, num_levels() - 1);
  for (int64_t i = 0; i < n; ++i) {
    const Parts parts = child_of(level, parts_of(level, nodes[i]), tokens[i]);
    children[i] = lives(level + 1, parts) ? node_of(level + 1, parts) : -1;
  }
}

void Snapshot::children(int level, const int64_t* nodes, int64_t n, int64_t* offsets,
                        std::vector<int32_t>* tokens) const {
  check_level("Snapshot.children", level, num_levels() - 1);
  offsets[0] = 0;
  for (int64_t i = 0; i < n; ++i) {
    append_children(level, parts_of(level, nodes[i]), tokens);
    offsets[i + 1] = static_cast<int64_t>(tokens->size());
  }
}

void Snapshot::append_children(int level, Parts parts, std::vector<int32_t>* tokens) const {
  NodeRange base = view_.base.children(level, parts.base);
  NodeRange overlay =
      view_.has_overlay() ? view_.overlay.children(level, parts.overlay) : NodeRange{};
  while (base.size() > 0 || overlay.size() > 0) {
    const uint32_t none = 0x10000;
    const uint32_t in_base = base.size() > 0 ? view_.base.token(level, base.begin) : none;
    const uint32_t in_overlay =
        overlay.size() > 0 ? view_.overlay.token(level, overlay.begin) : none;
    const uint32_t token = std::min(in_base, in_overlay);
    const Parts child{in_base == token ? int64_t{base.begin++} : -1,
                      in_overlay == token ? int64_t{overlay.begin++} : -1};
    if (lives(level + 1, child)) tokens->push_back(static_cast<int32_t>(token));
  }
}

void Snapshot::items(const int64_t* ranks, int64_t n, int64_t* offsets,
                     std::vector<int64_t>* item_ids) const {
  offsets[0] = 0;
  for (int64_t i = 0; i < n; ++i) {
    check_rank("Snapshot.items", ranks[i]);
    append_items(parts_of(num_levels(), ranks[i]), item_ids);
    offsets[i + 1] = static_cast<int64_t>(item_ids->size());
  }
}

void Snapshot::append_items(Parts parts, std::vector<int64_t>* item_ids) const {
  ItemList base{view_.base, view_.live_base, {}};
  ItemList overlay{view_.overlay, view_.live_overlay, {}};
  if (parts.base >= 0) base.rest = view_.base.items(parts.base);
  if (parts.overlay >= 0) overlay.rest = view_.overlay.items(parts.overlay);
  while (true) {
    const bool in_base = base.settle();
    const bool in_overlay = overlay.settle();
    if (!in_base && !in_overlay) return;
    const bool base_first = !in_overlay || (in_base && comes_first(base, overlay));
    item_ids->push_back(base_first ? base.take() : overlay.take());
  }
}

void Snapshot::positions(const int64_t* item_ids, int64_t n, int64_t* positions) const {
  const auto living = [](const SidTrieView& trie, const ItemSetView& live, int64_t id) -> int64_t {
    const int64_t position = trie.position_of(id);
    return position >= 0 && live.has(static_cast<uint32_t>(position)) ? position : -1;
  };
  for (int64_t i = 0; i < n; ++i) {
    positions[i] = living(view_.base, view_.live_base, item_ids[i]);
    if (positions[i] >= 0 || !view_.has_overlay()) continue;
    const int64_t position = living(view_.overlay, view_.live_overlay, item_ids[i]);
    if (position >= 0) positions[i] = view_.base.num_items + position;
  }
}

void Snapshot::count_items(int level, const int64_t* nodes, int64_t n, int64_t* counts) const {
  check_level("Snapshot.count_items", level, num_levels());
  for (int64_t i = 0; i < n; ++i) {
    const Parts parts = parts_of(level, nodes[i]);
    counts[i] = 0;
    if (parts.base >= 0) {
      counts[i] += count_in(view_.live_base, view_.base.item_range(level, parts.base));
    }
    if (parts.overlay >= 0) {
      counts[i] += count_in(view_.live_overlay, view_.overlay.item_range(level, parts.overlay));
    }
  }
}

void Snapshot::check_rank(const char* where, int64_t rank) const {
  const int64_t limit = view_.num_nodes(num_levels());
  if (rank >= -1 && rank < limit) return;
  throw InvalidArgument(complaint(
      where, "rank", "ranks in [0, " + std::to_string(limit) + ") or -1", std::to_string(rank)));
}

void Snapshot::check_level(const char* where, int level, int last) const {
  if (level >= 0 && level <= last) return;
  throw InvalidArgument(
      complaint(where, "level", "0 to " + std::to_string(last), std::to_string(level)));
}

}  // namespace onesearch
