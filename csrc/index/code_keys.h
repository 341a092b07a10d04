// Codes of any integer dtype as sort keys: those of level 0 in the highest bits.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "core/tensor_view.h"
#include "index/row_sort.h"
#include "index/sid_trie_view.h"

namespace onesearch {

// Where each level's code lies in a key.
struct KeyLayout {
  explicit KeyLayout(const std::vector<int64_t>& level_sizes);

  bool is_wide() const { return bits > 64; }

  int num_levels;
  int bits = 0;
  std::array<int, SidTrieView::kMaxLevels> width{};
  std::array<int, SidTrieView::kMaxLevels> shift{};
};

class CodeKeys {
 public:
  // codes [num_items, num_levels]. Throws InvalidArgument or TypeMismatch, with `where` in front,
  // for other shapes, sizes or dtypes; codes are looked at by `read`.
  CodeKeys(const char* where, const TensorView& codes, const std::vector<int64_t>& level_sizes);

  const KeyLayout& layout() const { return layout_; }

  // The keys of rows [first, first + n). False where a code is out of range.
  template <class Key>
  bool read(int64_t first, int64_t n, Key* keys) const;

  // Throws InvalidArgument that names the first row and level out of range; one of them must be.
  [[noreturn]] void reject() const;

 private:
  const char* where_;
  TensorView codes_;
  std::vector<int64_t> level_sizes_;
  KeyLayout layout_;
};

}  // namespace onesearch
