#include "index/overlay.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "core/hash.h"

namespace onesearch {
namespace {

// What happens to one entry of a sorted array: of the nodes of a level, or of the items.
struct Change {
  enum Kind : uint8_t { kInsert, kKeep, kRemove };

  uint32_t at;  // index into the old array; an insertion comes before that entry
  Kind kind;
  int32_t gain;             // of children, by a node; of items, by a node of the last level
  const OverlayItem* item;  // kInsert: one that brings the entry
};
// In the order of `at`, insertions first.
using Changes = std::vector<Change>;

size_t size_after(size_t size, const Changes& changes) {
  for (const Change& change : changes) {
    size += (change.kind == Change::kInsert) - (change.kind == Change::kRemove);
  }
  return size;
}

// Appends map(entry) of each; to copy first and map in place is faster than to make room for the
// entries, which would write zeros there.
template <class T, class Map>
void append(std::vector<T>* to, const T* begin, const T* end, Map map) {
  const auto first = to->insert(to->end(), begin, end);
  std::transform(first, to->end(), first, map);
}

// The array after the changes: map(entry) of what stays, make(item) of what is new.
template <class T, class Map, class Make>
std::vector<T> splice(const std::vector<T>& old, const Changes& changes, Map map, Make make) {
  std::vector<T> result;
  result.reserve(size_after(old.size(), changes));
  const T* from = old.data();
  for (const Change& change : changes) {
    if (change.kind == Change::kKeep) continue;
    const T* const at = old.data() + change.at;
    append(&result, from, at, map);
    if (change.kind == Change::kInsert) result.push_back(static_cast<T>(make(*change.item)));
    from = change.kind == Change::kInsert ? at : at + 1;
  }
  append(&result, from, old.data() + old.size(), map);
  return result;
}

template <class T, class Make>
std::vector<T> splice(const std::vector<T>& old, const Changes& changes, Make make) {
  return splice(old, changes, [](T entry) { return entry; }, make);
}

// The same for offsets [n + 1] into the array below, which move by what the entries before them
// gain.
std::vector<uint32_t> splice_offsets(const std::vector<uint32_t>& old, const Changes& changes) {
  std::vector<uint32_t> result;
  result.reserve(size_after(old.size(), changes));
  const uint32_t* from = old.data();
  uint32_t moved = 0;  // wraps around where offsets move down
  const auto move = [&moved](uint32_t offset) { return offset + moved; };
  for (const Change& change : changes) {
    const uint32_t* const at = old.data() + change.at;
    append(&result, from, at, move);
    if (change.kind != Change::kRemove) result.push_back(move(*at));
    from = change.kind == Change::kInsert ? at : at + 1;
    moved += static_cast<uint32_t>(change.gain);
  }
  append(&result, from, old.data() + old.size(), move);
  return result;
}

// Higher score first; equal scores by the hash of the id, which never ties.
bool better(float score, int64_t id, float other_score, int64_t other_id) {
  if (score != other_score) return score > other_score;
  return item_hash(id) < item_hash(other_id);
}

template <class Lists>
size_t bytes_of(const Lists& lists) {
  size_t total = 0;
  for (const auto& list : lists) total += list.size() * sizeof(list[0]);
  return total;
}

}  // namespace

// One merge. A walk from the root down the paths of all items that come or go finds what changes in
// each array; then the arrays are spliced.
class OverlayMerge {
 public:
  OverlayMerge(const Overlay& before, ItemSetView live, std::vector<OverlayItem> added,
               const AddedAttributes& attributes)
      : num_levels_(before.view_.num_levels),
        before_(before),
        old_(before.view_),
        added_(std::move(added)),
        attributes_(attributes),
        after_(new Overlay(before.view_, attributes.num_columns)) {
    for (uint32_t word = 0; word * 64 < old_.num_items; ++word) add_dead(word, ~live.word(word));
    find_sids_of_dead();
    for (const OverlayItem& item : added_) steps_.push_back({item.sid, &item, 0});
    std::sort(steps_.begin(), steps_.end(),
              [](const Step& a, const Step& b) { return a.sid < b.sid; });
  }

  std::shared_ptr<const Overlay> run() {
    const int32_t gain = visit(0, {0, true}, {steps_.data(), steps_.data() + steps_.size()});
    changes_[0].push_back({0, Change::kKeep, gain, nullptr});
    splice_levels();
    splice_items();
    if (after_->item_ids_.empty()) return nullptr;
    after_->show();
    return after_;
  }

 private:
  // An item that comes (`added`), or goes (null, from `position`).
  struct Step {
    SidKey sid;
    const OverlayItem* added;
    uint32_t position;
  };
  struct Steps {
    Step* begin;
    Step* end;
  };

  // A node of the old trie, or where one would stand.
  struct Slot {
    uint32_t at;
    bool exists;
  };

  // `dead`: the items of [64 word, 64 word + 64) that go, and any bits past the last item.
  void add_dead(uint32_t word, uint64_t dead) {
    for (; dead != 0; dead &= dead - 1) {
      const uint32_t position = word * 64 + static_cast<uint32_t>(lowest_bit(dead));
      if (position >= old_.num_items) return;
      steps_.push_back({{}, nullptr, position});
    }
  }

  // Level by level: the nodes of ascending positions ascend, so each is near the one before.
  void find_sids_of_dead() {
    std::vector<uint32_t> nodes;
    nodes.reserve(steps_.size());
    for (const Step& step : steps_) nodes.push_back(step.position);
    for (int level = num_levels_; level > 0; --level) {
      uint32_t parent = 0;
      for (size_t i = 0; i < nodes.size(); ++i) {
        parent = part_from(before_.child_begin_[level], parent, nodes[i]);
        steps_[i].sid.set_code(level - 1, old_.token(level - 1, parent));
        nodes[i] = parent;
      }
    }
  }

  // The part that holds the element, which is not in one before `part`.
  static uint32_t part_from(const std::vector<uint32_t>& begin, uint32_t part, uint32_t element) {
    size_t step = 1;
    while (part + step < begin.size() && begin[part + step] <= element) {
      part += static_cast<uint32_t>(step);
      step *= 2;
    }
    const auto end =
        begin.begin() + static_cast<std::ptrdiff_t>(std::min(part + step, begin.size()));
    return static_cast<uint32_t>(std::upper_bound(begin.begin() + part, end, element) -
                                 begin.begin() - 1);
  }

  // Children of a node, of items for one of the last level; an empty range where there is no node.
  NodeRange below(int level, Slot slot) const {
    const uint32_t* begin = before_.child_begin_[level].data() + slot.at;
    return {begin[0], slot.exists ? begin[1] : begin[0]};
  }

  // Goes down the paths of the steps, which all have the path to the slot in common, and notes what
  // changes below it. Returns how many children it gains.
  int32_t visit(int level, Slot slot, Steps steps) {
    if (level == num_levels_) return visit_items(slot, steps);
    NodeRange rest = below(level, slot);
    int32_t gain = 0;
    while (steps.begin != steps.end) {
      const uint32_t code = steps.begin->sid.code(level);
      Step* const next = std::find_if(steps.begin, steps.end, [level, code](const Step& step) {
        return step.sid.code(level) != code;
      });
      rest.begin = first_child_from(level, rest, code);
      const bool exists = rest.size() > 0 && old_.token(level, rest.begin) == code;
      gain += visit_child(level + 1, {rest.begin, exists}, {steps.begin, next});
      steps.begin = next;
    }
    return gain;
  }

  // The first child of the range whose token is not below `code`.
  uint32_t first_child_from(int level, NodeRange range, uint32_t code) const {
    while (range.size() > 0) {
      const uint32_t middle = range.begin + range.size() / 2;
      if (old_.token(level, middle) < code) {
        range.begin = middle + 1;
      } else {
        range.end = middle;
      }
    }
    return range.begin;
  }

  // Returns by how much its parent gains or loses this child.
  int32_t visit_child(int level, Slot slot, Steps steps) {
    const auto held = static_cast<int32_t>(below(level, slot).size());
    const int32_t gain = visit(level, slot, steps);
    const bool stays = held + gain > 0;
    if (gain != 0 || slot.exists != stays) {
      const Change::Kind kind = !slot.exists ? Change::kInsert
                                : stays      ? Change::kKeep
                                             : Change::kRemove;
      changes_[level].push_back({slot.at, kind, gain, steps.begin->added});
    }
    return static_cast<int32_t>(stays) - static_cast<int32_t>(slot.exists);
  }

  int32_t visit_items(Slot slot, Steps steps) {
    const NodeRange range = below(num_levels_, slot);
    for (Step* step = steps.begin; step != steps.end; ++step) {
      if (step->added != nullptr) step->position = place_of(*step->added, range);
    }
    std::sort(steps.begin, steps.end, [](const Step& a, const Step& b) {
      if (a.position != b.position) return a.position < b.position;
      if (a.added == nullptr || b.added == nullptr) return b.added == nullptr && a.added != nullptr;
      return better(a.added->score, a.added->id, b.added->score, b.added->id);
    });
    int32_t gain = 0;
    for (Step* step = steps.begin; step != steps.end; ++step) {
      const bool comes = step->added != nullptr;
      item_changes_.push_back(
          {step->position, comes ? Change::kInsert : Change::kRemove, 0, step->added});
      gain += comes ? 1 : -1;
    }
    return gain;
  }

  // The position among the old items of its SID that it comes before.
  uint32_t place_of(const OverlayItem& item, NodeRange range) const {
    while (range.size() > 0) {
      const uint32_t middle = range.begin + range.size() / 2;
      if (better(old_.item_scores[middle], old_.item_ids[middle], item.score, item.id)) {
        range.begin = middle + 1;
      } else {
        range.end = middle;
      }
    }
    return range.begin;
  }

  void splice_levels() {
    for (int level = 0; level <= num_levels_; ++level) {
      const Changes& changes = changes_[level];
      after_->child_begin_[level] = splice_offsets(before_.child_begin_[level], changes);
      if (level == 0) continue;
      after_->base_nodes_[level] =
          splice(before_.base_nodes_[level], changes,
                 [level](const OverlayItem& item) { return item.base_nodes[level - 1]; });
      const auto token = [level](const OverlayItem& item) { return item.sid.code(level - 1); };
      if (old_.token_bytes(level - 1) == 1) {
        after_->tokens8_[level - 1] = splice(before_.tokens8_[level - 1], changes, token);
      } else {
        after_->tokens16_[level - 1] = splice(before_.tokens16_[level - 1], changes, token);
      }
    }
  }

  void splice_items() {
    after_->item_ids_ =
        splice(before_.item_ids_, item_changes_, [](const OverlayItem& item) { return item.id; });
    after_->item_scores_ = splice(before_.item_scores_, item_changes_,
                                  [](const OverlayItem& item) { return item.score; });
    for (size_t column = 0; column < attributes_.num_columns; ++column) {
      after_->attribute_rows_[column] =
          splice(before_.attribute_rows_[column], item_changes_, [&](const OverlayItem& item) {
            return attributes_.rows[item.added * attributes_.num_columns + column];
          });
    }
    find_positions();
    after_->position_by_id_ = splice(
        before_.position_by_id_, id_changes(),
        [this](uint32_t position) { return positions_now_[position]; },
        [this](const OverlayItem& item) { return arrivals_[index_of(item)]; });
  }

  // Where each item stands now.
  void find_positions() {
    positions_now_.resize(old_.num_items);
    arrivals_.resize(added_.size());
    uint32_t from = 0;
    uint32_t to = 0;
    for (const Change& change : item_changes_) {
      while (from < change.at) positions_now_[from++] = to++;
      if (change.kind == Change::kInsert) {
        arrivals_[index_of(*change.item)] = to++;
      } else {
        ++from;
      }
    }
    while (from < old_.num_items) positions_now_[from++] = to++;
  }

  // The same changes, of the array that is in the order of ids.
  Changes id_changes() const {
    Changes changes;
    for (const Change& change : item_changes_) {
      const bool comes = change.kind == Change::kInsert;
      const int64_t id = comes ? change.item->id : before_.item_ids_[change.at];
      changes.push_back({place_of_id(id), change.kind, 0, change.item});
    }
    std::sort(changes.begin(), changes.end(), [](const Change& a, const Change& b) {
      if (a.at != b.at || a.kind != b.kind)
        return std::pair(a.at, a.kind) < std::pair(b.at, b.kind);
      return a.item->id < b.item->id;
    });
    return changes;
  }

  uint32_t place_of_id(int64_t id) const {
    const std::vector<uint32_t>& index = before_.position_by_id_;
    const auto place = std::lower_bound(
        index.begin(), index.end(), id,
        [this](uint32_t position, int64_t wanted) { return before_.item_ids_[position] < wanted; });
    return static_cast<uint32_t>(place - index.begin());
  }

  size_t index_of(const OverlayItem& item) const {
    return static_cast<size_t>(&item - added_.data());
  }

  const int num_levels_;
  const Overlay& before_;
  const SidTrieView& old_;
  const std::vector<OverlayItem> added_;
  const AddedAttributes& attributes_;
  std::shared_ptr<Overlay> after_;
  std::vector<Step> steps_;
  std::array<Changes, SidTrieView::kMaxLevels + 1> changes_;  // of the nodes of each level
  Changes item_changes_;
  std::vector<uint32_t> positions_now_;  // of the old items that stay
  std::vector<uint32_t> arrivals_;       // positions of the added
};

std::shared_ptr<const Overlay> Overlay::merge(const SidTrieView& base, const Overlay* before,
                                              ItemSetView live, std::vector<OverlayItem> added,
                                              const AddedAttributes& attributes) {
  if (before != nullptr) return OverlayMerge(*before, live, std::move(added), attributes).run();
  const Overlay nothing(base, attributes.num_columns);
  return OverlayMerge(nothing, ItemSetView(), std::move(added), attributes).run();
}

std::shared_ptr<const Overlay> Overlay::with_attribute_rows(uint32_t first) const {
  const std::shared_ptr<Overlay> other(new Overlay(*this));
  for (std::vector<uint32_t>& rows : other->attribute_rows_) {
    std::iota(rows.begin(), rows.end(), first);
  }
  other->show();
  return other;
}

Overlay::Overlay(const SidTrieView& base, size_t num_columns) : attribute_rows_(num_columns) {
  view_.num_levels = base.num_levels;
  std::copy_n(base.level_sizes, base.num_levels, view_.level_sizes);
  child_begin_.fill(std::vector<uint32_t>{0});
  child_begin_[0] = {0, 0};
  base_nodes_[0] = {0};
}

void Overlay::show() {
  const int last = view_.num_levels;
  view_.num_items = static_cast<uint32_t>(item_ids_.size());
  for (int level = 0; level <= last; ++level) {
    view_.num_nodes[level] = static_cast<uint32_t>(base_nodes_[level].size());
  }
  for (int level = 0; level < last; ++level) {
    Partition& children = view_.child_partition[level];
    children.num_parts = view_.num_nodes[level];
    children.num_elements = view_.num_nodes[level + 1];
    children.offsets = child_begin_[level].data();
    if (view_.token_bytes(level) == 1) {
      view_.child_token[level] = tokens8_[level].data();
    } else {
      view_.child_token[level] = tokens16_[level].data();
    }
  }
  view_.item_partition[last].num_parts = view_.num_nodes[last];
  view_.item_partition[last].num_elements = view_.num_items;
  view_.item_partition[last].offsets = child_begin_[last].data();
  view_.item_ids = item_ids_.data();
  view_.item_scores = item_scores_.data();
  view_.position_by_id = position_by_id_.data();
}

OverlayItem Overlay::item(uint32_t position) const {
  OverlayItem item{};
  item.id = item_ids_[position];
  item.score = item_scores_[position];
  uint32_t node = view_.item_partition[view_.num_levels].part_of(position);
  for (int level = view_.num_levels; level > 0; --level) {
    item.sid.set_code(level - 1, view_.token(level - 1, node));
    item.base_nodes[level - 1] = base_nodes_[level][node];
    node = view_.parent(level, node);
  }
  return item;
}

size_t Overlay::nbytes() const {
  return bytes_of(tokens8_) + bytes_of(tokens16_) + bytes_of(child_begin_) +
         bytes_of(attribute_rows_) + bytes_of(base_nodes_) + item_ids_.size() * sizeof(int64_t) +
         item_scores_.size() * sizeof(float) + position_by_id_.size() * sizeof(uint32_t);
}

}  // namespace onesearch
