#include "index/code_keys.h"

#include <string>

#include "core/error.h"

namespace onesearch {
namespace {

constexpr int64_t kMaxItems = 0x7fffffff;

int bits_for(int64_t level_size) {
  int bits = 1;
  while ((int64_t{1} << bits) < level_size) ++bits;
  return bits;
}

}  // namespace

KeyLayout::KeyLayout(const char* where, const std::vector<int64_t>& level_sizes)
    : num_levels(static_cast<int>(level_sizes.size())) {
  if (level_sizes.size() < 2 || level_sizes.size() > SidTrieView::kMaxLevels) {
    throw InvalidArgument(complaint(where, "level_sizes", "2 to 8 levels",
                                    std::to_string(level_sizes.size()) + " levels"));
  }
  for (int level = num_levels - 1; level >= 0; --level) {
    const int64_t size = level_sizes[level];
    if (size < 2 || size > 65536) {
      throw InvalidArgument(
          complaint(where, "level_sizes", "sizes from 2 to 65536", std::to_string(size)));
    }
    level_size[level] = static_cast<uint32_t>(size);
    width[level] = bits_for(size);
    shift[level] = bits;
    bits += width[level];
  }
}

void check_num_items(const char* where, int64_t num_items) {
  if (num_items >= 1 && num_items <= kMaxItems) return;
  throw InvalidArgument(
      complaint(where, "codes", "1 to 2^31 - 1 items", std::to_string(num_items) + " items"));
}

CodeKeys::CodeKeys(const char* where, const TensorView& codes, const KeyLayout& layout)
    : where_(where), codes_(codes), layout_(layout) {
  if (codes.ndim != 2 || codes.shape[1] != layout.num_levels) {
    throw InvalidArgument(complaint(where, "codes",
                                    "shape [num_items, " + std::to_string(layout.num_levels) + "]",
                                    shape_text(codes)));
  }
  if (!visit_integer(codes.dtype, [](auto) {})) {
    throw TypeMismatch(complaint(where, "codes", "an integer dtype", dtype_name(codes.dtype)));
  }
}

template <class Key>
bool CodeKeys::read(int64_t first, int64_t n, Key* keys) const {
  // Copies, which the compiler keeps in registers: keys might overlap the members.
  const KeyLayout layout = layout_;
  const int64_t row_stride = codes_.strides[0];
  const int64_t level_stride = codes_.strides[1];
  bool beyond = false;
  visit_integer(codes_.dtype, [&](auto type) {
    using T = decltype(type);
    const T* row = codes_.at<const T>(first);
    for (int64_t i = 0; i < n; ++i, row += row_stride) {
      Key key = 0;
      for (int level = 0; level < layout.num_levels; ++level) {
        // A negative code becomes huge, so that one comparison checks both ends.
        const auto code = static_cast<uint64_t>(row[level * level_stride]);
        beyond |= code >= layout.level_size[level];
        key = key << layout.width[level] | code;
      }
      keys[i] = key;
    }
  });
  return !beyond;
}

template bool CodeKeys::read(int64_t, int64_t, uint64_t*) const;
template bool CodeKeys::read(int64_t, int64_t, WideKey*) const;

void CodeKeys::reject(int64_t first_row) const {
  visit_integer(codes_.dtype, [&](auto type) {
    using T = decltype(type);
    for (int64_t row = 0; row < codes_.shape[0]; ++row) {
      for (int level = 0; level < layout_.num_levels; ++level) {
        const T code = *codes_.at<const T>(row, level);
        const uint32_t size = layout_.level_size[level];
        if (static_cast<uint64_t>(code) < size) continue;
        throw InvalidArgument(complaint(
            where_, "codes",
            "integers in [0, " + std::to_string(size) + ") at level " + std::to_string(level),
            std::to_string(code) + " at row " + std::to_string(first_row + row),
            "codes are local to their level"));
      }
    }
  });
  throw InvalidArgument(complaint(where_, "codes", "codes that stay as they are",
                                  "codes that changed while they were read"));
}

}  // namespace onesearch
