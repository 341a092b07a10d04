#include "index/sid_trie.h"

#include <algorithm>
#include <utility>

#include "core/error.h"

namespace onesearch {
namespace {

template <class T>
int64_t find_rank(const SidTrieView& view, const TensorView& codes, int64_t row) {
  int64_t node = 0;
  for (int level = 0; level < view.num_levels && node >= 0; ++level) {
    const T code = *codes.at<const T>(row, level);
    const bool in_range = static_cast<uint64_t>(code) < view.level_sizes[level];
    node = in_range ? view.child(level, node, static_cast<int64_t>(code)) : -1;
  }
  return node;
}

template <class T>
void find_ranks(const SidTrieView& view, const TensorView& codes, int64_t* ranks) {
  for (int64_t row = 0; row < codes.shape[0]; ++row) ranks[row] = find_rank<T>(view, codes, row);
}

void check_rank(const SidTrieView& view, const char* where, int64_t rank) {
  if (rank >= -1 && rank < static_cast<int64_t>(view.num_sids())) return;
  throw InvalidArgument(complaint(where, "rank",
                                  "ranks in [0, " + std::to_string(view.num_sids()) + ") or -1",
                                  std::to_string(rank)));
}

}  // namespace

std::shared_ptr<const SidTrie> SidTrie::build(const CatalogueCodes& catalogue) {
  Bytes image = build_image(catalogue);
  const SidTrieView view = open_image(image, "SidTrie.build");
  return std::shared_ptr<const SidTrie>(new SidTrie(std::move(image), view));
}

std::shared_ptr<const SidTrie> SidTrie::load(const std::string& path, bool verify) {
  Bytes image = Bytes::map(path);
  const std::string where = "SidTrie.load: " + path;
  const SidTrieView view = open_image(image, where);
  if (verify) verify_image(image, where);
  return std::shared_ptr<const SidTrie>(new SidTrie(std::move(image), view));
}

void SidTrie::save(const std::string& path) const { write_file(path, image_); }

void SidTrie::verify() const { verify_image(image_, "SidTrie.verify"); }

void SidTrie::rank(const TensorView& codes, int64_t* ranks) const {
  if (codes.ndim != 2 || codes.shape[1] != view().num_levels) {
    throw InvalidArgument(complaint("SidTrie.rank", "codes",
                                    "shape [n, " + std::to_string(view().num_levels) + "]",
                                    shape_text(codes)));
  }
  switch (codes.dtype) {
    case DType::kInt8:
      return find_ranks<int8_t>(view(), codes, ranks);
    case DType::kInt16:
      return find_ranks<int16_t>(view(), codes, ranks);
    case DType::kInt32:
      return find_ranks<int32_t>(view(), codes, ranks);
    case DType::kInt64:
      return find_ranks<int64_t>(view(), codes, ranks);
    case DType::kUInt8:
      return find_ranks<uint8_t>(view(), codes, ranks);
    case DType::kUInt16:
      return find_ranks<uint16_t>(view(), codes, ranks);
    case DType::kUInt32:
      return find_ranks<uint32_t>(view(), codes, ranks);
    case DType::kUInt64:
      return find_ranks<uint64_t>(view(), codes, ranks);
    default:
      throw TypeMismatch(
          complaint("SidTrie.rank", "codes", "an integer dtype", dtype_name(codes.dtype)));
  }
}

void SidTrie::codes(const int64_t* ranks, int64_t n, int32_t* codes) const {
  for (int64_t i = 0; i < n; ++i) {
    check_rank(view(), "SidTrie.codes", ranks[i]);
    int32_t* row = codes + i * view().num_levels;
    if (ranks[i] < 0) {
      std::fill_n(row, view().num_levels, -1);
      continue;
    }
    auto node = static_cast<uint32_t>(ranks[i]);
    for (int level = view().num_levels - 1; level >= 0; --level) {
      row[level] = static_cast<int32_t>(view().token(level, node));
      node = view().parent(level + 1, node);
    }
  }
}

void SidTrie::rank_range(int level, const int64_t* nodes, int64_t n, int64_t* begin,
                         int64_t* end) const {
  check_level("SidTrie.rank_range", level, view().num_levels);
  for (int64_t i = 0; i < n; ++i) {
    const NodeRange range = view().ranks(level, nodes[i]);
    begin[i] = range.begin;
    end[i] = range.end;
  }
}

void SidTrie::child_range(int level, const int64_t* nodes, int64_t n, int64_t* begin,
                          int64_t* end) const {
  check_level("SidTrie.child_range", level, view().num_levels - 1);
  for (int64_t i = 0; i < n; ++i) {
    const NodeRange range = view().children(level, nodes[i]);
    begin[i] = range.begin;
    end[i] = range.end;
  }
}

void SidTrie::child_offsets(int level, const int64_t* nodes, int64_t n, int64_t* offsets) const {
  check_level("SidTrie.children", level, view().num_levels - 1);
  offsets[0] = 0;
  for (int64_t i = 0; i < n; ++i) {
    offsets[i + 1] = offsets[i] + view().children(level, nodes[i]).size();
  }
}

void SidTrie::child_tokens(int level, const int64_t* nodes, int64_t n, const int64_t* offsets,
                           int32_t* tokens) const {
  for (int64_t i = 0; i < n; ++i) {
    const NodeRange range = view().children(level, nodes[i]);
    for (uint32_t at = 0; at < range.size(); ++at) {
      tokens[offsets[i] + at] = static_cast<int32_t>(view().token(level, range.begin + at));
    }
  }
}

void SidTrie::child(int level, const int64_t* nodes, const int64_t* tokens, int64_t n,
                    int64_t* children) const {
  check_level("SidTrie.child", level, view().num_levels - 1);
  for (int64_t i = 0; i < n; ++i) {
    const bool in_range = tokens[i] >= 0 && tokens[i] < view().level_sizes[level];
    children[i] = in_range ? view().child(level, nodes[i], tokens[i]) : -1;
  }
}

void SidTrie::item_offsets(const int64_t* ranks, int64_t n, int64_t* offsets) const {
  offsets[0] = 0;
  for (int64_t i = 0; i < n; ++i) {
    check_rank(view(), "SidTrie.items", ranks[i]);
    offsets[i + 1] = offsets[i] + view().items(ranks[i]).size();
  }
}

void SidTrie::items(const int64_t* ranks, int64_t n, const int64_t* offsets,
                    int64_t* item_ids) const {
  for (int64_t i = 0; i < n; ++i) {
    const NodeRange range = view().items(ranks[i]);
    for (uint32_t at = 0; at < range.size(); ++at) {
      item_ids[offsets[i] + at] = view().item_id(range.begin + at);
    }
  }
}

void SidTrie::check_level(const char* where, int level, int last) const {
  if (level >= 0 && level <= last) return;
  throw InvalidArgument(
      complaint(where, "level", "0 to " + std::to_string(last), std::to_string(level)));
}

}  // namespace onesearch
