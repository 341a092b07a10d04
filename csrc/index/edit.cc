#include "index/edit.h"

#include <algorithm>
#include <string>

#include "core/error.h"

namespace onesearch {
namespace {

constexpr int64_t kDeleted = -1;
constexpr int64_t kRemoved = -1;
// Batches of attributes at which those that are still in use are put into one.
constexpr size_t kMaxParts = 64;

[[noreturn]] void reject_id(RecordKind kind, int64_t id) {
  const bool inserts = kind == RecordKind::kInsert;
  throw InvalidArgument(complaint(
      name_of(kind), "item_ids",
      inserts ? "ids that the store does not hold" : "ids that the store holds", std::to_string(id),
      inserts ? "update or delete that item" : "insert it, or pass missing='ignore'"));
}

}  // namespace

Edit::Edit(Snapshot::Content before)
    : before_(std::move(before)), base_(before_.generation->trie().view()) {
  if (before_.attributes == nullptr) return;
  attributes_ = *before_.attributes;
  added_attributes_.num_columns = attributes_->num_columns();
}

Edit::Place Edit::find(int64_t id) const {
  const auto moved = moved_.find(id);
  if (moved != moved_.end()) {
    if (moved->second == kDeleted) return {Place::kNowhere, 0};
    return {Place::kAdded, static_cast<uint32_t>(moved->second)};
  }
  if (before_.overlay != nullptr) {
    const int64_t position = before_.overlay->view().position_of(id);
    const auto index = static_cast<uint32_t>(position);
    if (position >= 0 && before_.live_overlay->view().has(index)) return {Place::kOverlay, index};
  }
  const int64_t position = base_.position_of(id);
  const auto index = static_cast<uint32_t>(position);
  if (position >= 0 && before_.live_base->view().has(index)) return {Place::kBase, index};
  return {Place::kNowhere, 0};
}

std::vector<Edit::Place> Edit::places_of(Update* update) const {
  std::vector<Place> places;
  std::vector<bool> kept;
  places.reserve(update->ids.size());
  for (const int64_t id : update->ids) {
    const Place place = find(id);
    const bool lives = place.where != Place::kNowhere;
    const bool expected = lives == (update->kind != RecordKind::kInsert);
    if (!expected && !update->ignore_missing) reject_id(update->kind, id);
    if (expected) places.push_back(place);
    kept.push_back(expected);
  }
  if (places.size() < kept.size()) update->keep(kept, base_.num_levels);
  return places;
}

void Edit::add(Update* update) {
  // An update's ids are distinct, so it never looks up what it moved itself.
  for (const auto& [id, index] : new_moves_) moved_[id] = index;
  new_moves_.clear();
  const std::vector<Place> places = places_of(update);
  if (update->columns != nullptr) append_columns(*update);
  if (update->kind == RecordKind::kInsert) {
    insert(*update, places);
  } else if (update->kind == RecordKind::kDelete) {
    for (size_t row = 0; row < places.size(); ++row) remove(update->ids[row], places[row]);
  } else {
    change(*update, places);
  }
}

void Edit::append_columns(const Update& update) {
  first_row_ = attributes_->append(update.columns);
  given_.clear();
  for (const ColumnView& column : attributes_->base().columns()) {
    given_.push_back(update.columns->find(column.name) != nullptr);
  }
}

void Edit::insert(const Update& update, const std::vector<Place>& places) {
  const std::vector<BaseNodes> base_nodes = base_nodes_of(update);
  for (size_t row = 0; row < places.size(); ++row) {
    OverlayItem item{};
    item.id = update.ids[row];
    item.score = update.scores[row];
    for (int level = 0; level < base_.num_levels; ++level) {
      item.sid.set_code(level, update.codes[row * base_.num_levels + level]);
    }
    item.base_nodes = base_nodes[row];
    put(item, places[row]);
    set_attributes(update, row, added_.size() - 1);
  }
}

// Level by level, so that the rows' reads of memory overlap.
std::vector<BaseNodes> Edit::base_nodes_of(const Update& update) const {
  std::vector<BaseNodes> nodes(update.ids.size());
  for (int level = 0; level < base_.num_levels; ++level) {
    const uint16_t* code = update.codes.data() + level;
    for (BaseNodes& row : nodes) {
      const int64_t parent = level == 0 ? 0 : row[level - 1];
      row[level] = static_cast<int32_t>(parent < 0 ? -1 : base_.child(level, parent, *code));
      code += base_.num_levels;
    }
  }
  return nodes;
}

// The items at those places that are of the base; level by level, too.
std::vector<OverlayItem> Edit::base_items_at(const std::vector<Place>& places) const {
  std::vector<OverlayItem> items(places.size());
  std::vector<uint32_t> nodes(places.size());
  for (size_t i = 0; i < places.size(); ++i) {
    if (places[i].where != Place::kBase) continue;
    const uint32_t position = places[i].index;
    items[i].id = base_.item_id(position);
    items[i].score = base_.item_scores == nullptr ? 0.0f : base_.item_scores[position];
    nodes[i] = base_.item_partition[base_.num_levels].part_of(position);
  }
  for (int level = base_.num_levels; level > 0; --level) {
    for (size_t i = 0; i < places.size(); ++i) {
      if (places[i].where != Place::kBase) continue;
      items[i].sid.set_code(level - 1, base_.token(level - 1, nodes[i]));
      items[i].base_nodes[level - 1] = static_cast<int32_t>(nodes[i]);
      nodes[i] = base_.parent(level, nodes[i]);
    }
  }
  return items;
}

void Edit::change(const Update& update, const std::vector<Place>& places) {
  const std::vector<OverlayItem> base_items = base_items_at(places);
  for (size_t row = 0; row < places.size(); ++row) {
    const Place place = places[row];
    size_t index = place.index;
    if (place.where != Place::kAdded) {
      const bool in_base = place.where == Place::kBase;
      index = added_.size();
      (in_base ? dead_base_ : dead_overlay_).push_back(place.index);
      put(in_base ? base_items[row] : before_.overlay->item(place.index), place);
    }
    if (update.kind == RecordKind::kUpdateScores) added_[index].score = update.scores[row];
    set_attributes(update, row, index);
  }
}

void Edit::remove(int64_t id, Place place) {
  if (place.where == Place::kBase) dead_base_.push_back(place.index);
  if (place.where == Place::kOverlay) dead_overlay_.push_back(place.index);
  if (place.where == Place::kAdded) added_[place.index].id = kRemoved;
  new_moves_.emplace_back(id, kDeleted);
}

// Adds the item with the attributes of where it comes from.
void Edit::put(OverlayItem item, Place from) {
  item.added = static_cast<uint32_t>(added_.size());
  new_moves_.emplace_back(item.id, static_cast<int64_t>(added_.size()));
  added_.push_back(item);
  for (size_t column = 0; column < added_attributes_.num_columns; ++column) {
    uint32_t row = Attributes::kNoRow;
    if (from.where == Place::kBase) row = from.index;
    if (from.where == Place::kOverlay) {
      row = before_.overlay->attribute_rows()[column][from.index];
    }
    added_attributes_.rows.push_back(row);
  }
}

// Those that the update gives to the item in its row, which is an added one.
void Edit::set_attributes(const Update& update, size_t row, size_t added) {
  if (update.columns == nullptr) return;
  uint32_t* const rows = &added_attributes_.rows[added * added_attributes_.num_columns];
  for (size_t column = 0; column < given_.size(); ++column) {
    if (given_[column]) rows[column] = first_row_ + static_cast<uint32_t>(row);
  }
}

Snapshot::Content Edit::apply() {
  Snapshot::Content content = before_;
  if (!dead_base_.empty()) {
    content.live_base = before_.live_base->with_cleared(dead_base_.data(), dead_base_.size());
    content.num_live_base_sids -= count_emptied_sids(content.live_base->view());
  }
  if (!dead_overlay_.empty()) {
    content.live_overlay =
        before_.live_overlay->with_cleared(dead_overlay_.data(), dead_overlay_.size());
  }
  added_.erase(std::remove_if(added_.begin(), added_.end(),
                              [](const OverlayItem& item) { return item.id == kRemoved; }),
               added_.end());
  const bool overlay_died = content.overlay != nullptr && content.live_overlay->count() == 0;
  if (!added_.empty() || overlay_died) merge_overlay(&content);
  return content;
}

void Edit::merge_overlay(Snapshot::Content* content) {
  const ItemSetView live =
      content->live_overlay == nullptr ? ItemSetView() : content->live_overlay->view();
  content->overlay =
      Overlay::merge(base_, before_.overlay.get(), live, std::move(added_), added_attributes_);
  content->live_overlay = nullptr;
  if (content->overlay != nullptr) {
    content->live_overlay = ItemSet::everything(content->overlay->num_items());
  }
  if (attributes_.has_value()) merge_attributes(content);
}

void Edit::merge_attributes(Snapshot::Content* content) {
  Attributes merged(attributes_->base_handle());
  if (content->overlay == nullptr) {
    content->attributes = std::make_shared<const Attributes>(std::move(merged));
  } else if (attributes_->num_parts() <= kMaxParts) {
    content->attributes = std::make_shared<const Attributes>(std::move(*attributes_));
  } else {
    const uint32_t first = merged.append(
        attributes_->gather(content->overlay->attribute_rows(), content->overlay->num_items()));
    content->overlay = content->overlay->with_attribute_rows(first);
    content->attributes = std::make_shared<const Attributes>(std::move(merged));
  }
}

// SIDs of the base that lost their last living item.
uint32_t Edit::count_emptied_sids(const ItemSetView& live_base) {
  const int last = base_.num_levels;
  std::vector<uint32_t> ranks;
  ranks.reserve(dead_base_.size());
  for (const uint32_t position : dead_base_) {
    ranks.push_back(base_.item_partition[last].part_of(position));
  }
  std::sort(ranks.begin(), ranks.end());
  ranks.erase(std::unique(ranks.begin(), ranks.end()), ranks.end());
  return static_cast<uint32_t>(std::count_if(ranks.begin(), ranks.end(), [&](uint32_t rank) {
    return !live_base.any(base_.items(rank));
  }));
}

}  // namespace onesearch
