// Codes of any integer dtype as sort keys: those of level 0 in the highest bits.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "core/tensor_view.h"
#include "index/row_table.h"
#include "index/sid_trie_view.h"

namespace onesearch {

// Where each level's code lies in a key.
struct KeyLayout {
  // Throws InvalidArgument, with `where` in front, unless there are 2 to 8 sizes of 2 to 65536.
  KeyLayout(const char* where, const std::vector<int64_t>& level_sizes);

  bool is_wide() const { return bits > 64; }

  int num_levels;
  int bits = 0;
  std::array<uint32_t, SidTrieView::kMaxLevels> level_size{};
  std::array<int, SidTrieView::kMaxLevels> width{};
  std::array<int, SidTrieView::kMaxLevels> shift{};
};

// Throws InvalidArgument unless a trie can hold so many.
void check_num_items(const char* where, int64_t num_items);

class CodeKeys {
 public:
  // codes [n, num_levels]. Throws InvalidArgument or TypeMismatch for another shape or dtype; the
  // codes are looked at by `read`.
  CodeKeys(const char* where, const TensorView& codes, const KeyLayout& layout);

  // The keys of rows [first, first + n). False where a code is out of range.
  template <class Key>
  bool read(int64_t first, int64_t n, Key* keys) const;

  // Throws InvalidArgument that names the first row and level out of range, one of which must be.
  // Rows are counted from `first_row`.
  [[noreturn]] void reject(int64_t first_row) const;

 private:
  const char* where_;
  TensorView codes_;
  KeyLayout layout_;
};

}  // namespace onesearch
