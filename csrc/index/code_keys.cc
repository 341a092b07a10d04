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

const std::vector<int64_t>& checked_sizes(const char* where, const std::vector<int64_t>& sizes) {
  if (sizes.size() < 2 || sizes.size() > SidTrieView::kMaxLevels) {
    throw InvalidArgument(
        complaint(where, "level_sizes", "2 to 8 levels", std::to_string(sizes.size()) + " levels"));
  }
  for (const int64_t size : sizes) {
    if (size >= 2 && size <= 65536) continue;
    throw InvalidArgument(
        complaint(where, "level_sizes", "sizes from 2 to 65536", std::to_string(size)));
  }
  return sizes;
}

void check_codes(const char* where, const TensorView& codes, size_t num_levels) {
  if (codes.ndim != 2 || codes.shape[1] != static_cast<int64_t>(num_levels)) {
    throw InvalidArgument(complaint(where, "codes",
                                    "shape [num_items, " + std::to_string(num_levels) + "]",
                                    shape_text(codes)));
  }
  if (codes.shape[0] < 1 || codes.shape[0] > kMaxItems) {
    throw InvalidArgument(complaint(where, "codes", "1 to 2^31 - 1 items",
                                    std::to_string(codes.shape[0]) + " items"));
  }
  if (!visit_integer(codes.dtype, [](auto) {})) {
    throw TypeMismatch(complaint(where, "codes", "an integer dtype", dtype_name(codes.dtype)));
  }
}

// A negative code becomes huge, so that one comparison checks both ends.
template <class T>
bool in_range(T code, int64_t level_size) {
  return static_cast<uint64_t>(code) < static_cast<uint64_t>(level_size);
}

}  // namespace

KeyLayout::KeyLayout(const std::vector<int64_t>& level_sizes)
    : num_levels(static_cast<int>(level_sizes.size())) {
  for (int level = num_levels - 1; level >= 0; --level) {
    width[level] = bits_for(level_sizes[level]);
    shift[level] = bits;
    bits += width[level];
  }
}

CodeKeys::CodeKeys(const char* where, const TensorView& codes,
                   const std::vector<int64_t>& level_sizes)
    : where_(where),
      codes_(codes),
      level_sizes_(checked_sizes(where, level_sizes)),
      layout_(level_sizes_) {
  check_codes(where, codes, level_sizes.size());
}

template <class Key>
bool CodeKeys::read(int64_t first, int64_t n, Key* keys) const {
  // Copies, which the compiler keeps in registers: keys might overlap the members.
  const int num_levels = layout_.num_levels;
  const int64_t row_stride = codes_.strides[0];
  const int64_t level_stride = codes_.strides[1];
  const std::array<int, SidTrieView::kMaxLevels> width = layout_.width;
  std::array<uint64_t, SidTrieView::kMaxLevels> size{};
  std::copy(level_sizes_.begin(), level_sizes_.end(), size.begin());
  uint64_t beyond = 0;
  visit_integer(codes_.dtype, [&](auto type) {
    using T = decltype(type);
    const T* row = codes_.at<const T>(first);
    for (int64_t i = 0; i < n; ++i, row += row_stride) {
      Key key = 0;
      for (int level = 0; level < num_levels; ++level) {
        const auto code = static_cast<uint64_t>(row[level * level_stride]);
        beyond |= code >= size[level];
        key = key << width[level] | code;
      }
      keys[i] = key;
    }
  });
  return beyond == 0;
}

template bool CodeKeys::read(int64_t, int64_t, uint64_t*) const;
template bool CodeKeys::read(int64_t, int64_t, WideKey*) const;

void CodeKeys::reject() const {
  visit_integer(codes_.dtype, [this](auto type) {
    using T = decltype(type);
    for (int64_t row = 0; row < codes_.shape[0]; ++row) {
      for (int level = 0; level < layout_.num_levels; ++level) {
        const T code = *codes_.at<const T>(row, level);
        if (in_range(code, level_sizes_[level])) continue;
        throw InvalidArgument(complaint(where_, "codes",
                                        "integers in [0, " + std::to_string(level_sizes_[level]) +
                                            ") at level " + std::to_string(level),
                                        std::to_string(code) + " at row " + std::to_string(row),
                                        "codes are local to their level"));
      }
    }
  });
  throw InvalidArgument(complaint(where_, "codes", "codes that stay as they are",
                                  "codes that changed while they were read"));
}

}  // namespace onesearch
