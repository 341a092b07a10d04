// From sorted rows to the sections of an image.
#pragma once

#include <cstdint>

#include "core/bytes.h"
#include "index/code_keys.h"
#include "index/row_table.h"
#include "index/sid_trie_view.h"
#include "index/trie_image.h"

namespace onesearch {

// Item ids and priors to be stored, by row or already by position; null where there are none.
struct ItemValues {
  const int64_t* ids = nullptr;
  const double* scores = nullptr;
  bool by_position = false;
};

// An image in memory of `make_bytes`, but for position_by_id and checksums. Items on one SID are in
// order already.
template <class Key>
Bytes write_image(const KeyLayout& layout, const RowTable<Key>& sorted, const ItemValues& items,
                  const MakeBytes& make_bytes);

// position_by_id where rows are the ids. At most `window` rows are written in a pass over all
// positions: what is written at random must stay in memory.
void write_row_order(const SidTrieView& view, int64_t window);

// position_by_id from positions sorted by id. Throws InvalidArgument, with `where` in front, for an
// id that occurs twice.
void write_id_order(const char* where, const RowTable<uint64_t>& by_id, const SidTrieView& view);

}  // namespace onesearch
