// What updates do to a snapshot, collected before all of it is applied at once: one batch, those of
// several waiting writers, or a whole journal cost one merge.
#pragma once

#include <cstdint>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "index/snapshot.h"
#include "index/update.h"

namespace onesearch {

class Edit {
 public:
  explicit Edit(Snapshot::Content before);

  // Adds an insert, a delete or an update, whose ids are distinct and whose values were checked.
  // Throws InvalidArgument, having changed nothing, for ids that should live and do not, or the
  // other way about; with `ignore_missing` set they are taken out of the update.
  void add(Update* update);

  // The content after all updates; the last call on this object.
  Snapshot::Content apply();

 private:
  // Where an item stands.
  struct Place {
    enum Where { kNowhere, kBase, kOverlay, kAdded } where;
    uint32_t index;  // a position, or an index into added_
  };

  Place find(int64_t id) const;
  std::vector<Place> places_of(Update* update) const;
  std::vector<BaseNodes> base_nodes_of(const Update& update) const;
  std::vector<OverlayItem> base_items_at(const std::vector<Place>& places) const;
  void append_columns(const Update& update);
  void insert(const Update& update, const std::vector<Place>& places);
  void change(const Update& update, const std::vector<Place>& places);
  void remove(int64_t id, Place place);
  void put(OverlayItem item, Place from);
  void set_attributes(const Update& update, size_t row, size_t added);
  uint32_t count_emptied_sids(const ItemSetView& live_base);
  void merge_overlay(Snapshot::Content* content);
  void merge_attributes(Snapshot::Content* content);

  Snapshot::Content before_;
  SidTrieView base_;
  std::vector<OverlayItem> added_;                      // with id kRemoved: taken away again
  std::unordered_map<int64_t, int64_t> moved_;          // id -> index into added_, or kDeleted
  std::vector<std::pair<int64_t, int64_t>> new_moves_;  // of the last update, not in moved_ yet
  std::optional<Attributes> attributes_;                // none: the store has no columns
  AddedAttributes added_attributes_;                    // of added_
  std::vector<bool> given_;                             // columns that the update in hand has
  uint32_t first_row_ = 0;                              // of these
  std::vector<uint32_t> dead_base_;
  std::vector<uint32_t> dead_overlay_;
};

}  // namespace onesearch
