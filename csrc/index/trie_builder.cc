#include "index/trie_builder.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "core/error.h"
#include "core/hash.h"
#include "index/partition_writer.h"
#include "index/radix_sort.h"

namespace onesearch {
namespace {

constexpr char kWhere[] = "SidTrie.build";
constexpr int64_t kMaxItems = 0x7fffffff;
constexpr int kMaxLevels = SidTrieView::kMaxLevels;

// Where each level's code lies in a sort key. No code straddles a word, so two words hold 8 levels
// of 16 bits.
struct KeyLayout {
  int num_levels = 0;
  int num_words = 1;
  std::array<int, kMaxLevels> word{};
  std::array<int, kMaxLevels> shift{};
  std::array<int, kMaxLevels> width{};
  std::array<int, 2> word_bits{};
};

int bits_for(int64_t level_size) {
  int bits = 1;
  while ((int64_t{1} << bits) < level_size) ++bits;
  return bits;
}

KeyLayout key_layout(const std::vector<int64_t>& level_sizes) {
  KeyLayout layout;
  layout.num_levels = static_cast<int>(level_sizes.size());
  int word = 0;
  for (int level = layout.num_levels - 1; level >= 0; --level) {
    const int width = bits_for(level_sizes[level]);
    if (layout.word_bits[word] + width > 64) ++word;
    layout.word[level] = word;
    layout.shift[level] = layout.word_bits[word];
    layout.width[level] = width;
    layout.word_bits[word] += width;
  }
  layout.num_words = word + 1;
  return layout;
}

template <int kWords>
uint32_t code_of(const SortRecord<kWords>& record, const KeyLayout& layout, int level) {
  const uint64_t mask = (uint64_t{1} << layout.width[level]) - 1;
  return static_cast<uint32_t>((record.key[layout.word[level]] >> layout.shift[level]) & mask);
}

void check_sizes(const CatalogueCodes& catalogue) {
  const std::vector<int64_t>& sizes = catalogue.level_sizes;
  if (sizes.size() < 2 || sizes.size() > kMaxLevels) {
    throw InvalidArgument(complaint(kWhere, "level_sizes", "2 to 8 levels",
                                    std::to_string(sizes.size()) + " levels"));
  }
  for (const int64_t size : sizes) {
    if (size >= 2 && size <= 65536) continue;
    throw InvalidArgument(
        complaint(kWhere, "level_sizes", "sizes from 2 to 65536", std::to_string(size)));
  }
  const TensorView& codes = catalogue.codes;
  const auto num_levels = static_cast<int64_t>(sizes.size());
  if (codes.ndim != 2 || codes.shape[1] != num_levels) {
    throw InvalidArgument(complaint(kWhere, "codes",
                                    "shape [num_items, " + std::to_string(num_levels) + "]",
                                    shape_text(codes)));
  }
  if (codes.shape[0] < 1 || codes.shape[0] > kMaxItems) {
    throw InvalidArgument(complaint(kWhere, "codes", "1 to 2^31 - 1 items",
                                    std::to_string(codes.shape[0]) + " items"));
  }
}

void check_items(const CatalogueCodes& catalogue) {
  for (int64_t row = 0; row < catalogue.codes.shape[0]; ++row) {
    if (catalogue.item_ids != nullptr && catalogue.item_ids[row] < 0) {
      throw InvalidArgument(
          complaint(kWhere, "item_ids", "ids of at least 0",
                    std::to_string(catalogue.item_ids[row]) + " at row " + std::to_string(row)));
    }
    if (catalogue.item_scores != nullptr && std::isnan(catalogue.item_scores[row])) {
      throw InvalidArgument(
          complaint(kWhere, "item_scores", "numbers", "NaN at row " + std::to_string(row)));
    }
  }
}

[[noreturn]] void reject_code(const std::string& value, int64_t row, int level, int64_t size) {
  throw InvalidArgument(
      complaint(kWhere, "codes",
                "integers in [0, " + std::to_string(size) + ") at level " + std::to_string(level),
                value + " at row " + std::to_string(row), "codes are local to their level"));
}

template <int kWords, class T>
std::vector<SortRecord<kWords>> pack(const CatalogueCodes& catalogue, const KeyLayout& layout) {
  const TensorView& codes = catalogue.codes;
  std::vector<SortRecord<kWords>> records(static_cast<size_t>(codes.shape[0]));
  for (int64_t row = 0; row < codes.shape[0]; ++row) {
    SortRecord<kWords>& record = records[row];
    record.row = static_cast<uint32_t>(row);
    for (int level = 0; level < layout.num_levels; ++level) {
      const T code = *codes.at<const T>(row, level);
      // A negative code becomes huge, so one comparison checks both ends.
      if (static_cast<uint64_t>(code) >= static_cast<uint64_t>(catalogue.level_sizes[level])) {
        reject_code(std::to_string(code), row, level, catalogue.level_sizes[level]);
      }
      record.key[layout.word[level]] |= static_cast<uint64_t>(code) << layout.shift[level];
    }
  }
  return records;
}

template <int kWords>
std::vector<SortRecord<kWords>> pack(const CatalogueCodes& catalogue, const KeyLayout& layout) {
  switch (catalogue.codes.dtype) {
    case DType::kInt8:
      return pack<kWords, int8_t>(catalogue, layout);
    case DType::kInt16:
      return pack<kWords, int16_t>(catalogue, layout);
    case DType::kInt32:
      return pack<kWords, int32_t>(catalogue, layout);
    case DType::kInt64:
      return pack<kWords, int64_t>(catalogue, layout);
    case DType::kUInt8:
      return pack<kWords, uint8_t>(catalogue, layout);
    case DType::kUInt16:
      return pack<kWords, uint16_t>(catalogue, layout);
    case DType::kUInt32:
      return pack<kWords, uint32_t>(catalogue, layout);
    case DType::kUInt64:
      return pack<kWords, uint64_t>(catalogue, layout);
    default:
      throw TypeMismatch(
          complaint(kWhere, "codes", "an integer dtype", dtype_name(catalogue.codes.dtype)));
  }
}

// The first level in which the record leaves the path of the one before it; num_levels for the same
// SID.
template <int kWords>
int branch_level(const std::vector<SortRecord<kWords>>& records, size_t i,
                 const KeyLayout& layout) {
  if (i == 0) return 0;
  if (records[i].key == records[i - 1].key) return layout.num_levels;
  int level = 0;
  while (code_of(records[i], layout, level) == code_of(records[i - 1], layout, level)) ++level;
  return level;
}

template <int kWords>
TrieShape count_nodes(const std::vector<SortRecord<kWords>>& records, const KeyLayout& layout,
                      const std::vector<int64_t>& level_sizes) {
  std::array<uint32_t, kMaxLevels + 1> branches{};
  for (size_t i = 0; i < records.size(); ++i) ++branches[branch_level(records, i, layout)];
  TrieShape shape;
  shape.num_levels = layout.num_levels;
  shape.num_items = static_cast<uint32_t>(records.size());
  shape.num_nodes[0] = 1;
  uint32_t nodes = 0;
  for (int level = 0; level < layout.num_levels; ++level) {
    nodes += branches[level];
    shape.level_sizes[level] = static_cast<uint32_t>(level_sizes[level]);
    shape.num_nodes[level + 1] = nodes;
  }
  return shape;
}

// The view of an image under construction is written through: the image is ours and not yet shared.
template <class T>
T* writable(const T* section) {
  return const_cast<T*>(section);
}

void write_token(const SidTrieView& view, int level, uint32_t edge, uint32_t token) {
  if (view.token_bytes(level) == 1) {
    writable(view.tokens8(level))[edge] = static_cast<uint8_t>(token);
  } else {
    writable(view.tokens16(level))[edge] = static_cast<uint16_t>(token);
  }
}

template <int kWords>
void fill_levels(const std::vector<SortRecord<kWords>>& records, const KeyLayout& layout,
                 const SidTrieView& view) {
  const int num_levels = layout.num_levels;
  std::vector<PartitionWriter> children(view.child_partition, view.child_partition + num_levels);
  std::vector<PartitionWriter> items(view.item_partition, view.item_partition + num_levels + 1);
  std::array<uint32_t, kMaxLevels + 1> nodes{};  // so far; a node of the last level is a rank
  children[0].begin(0, 0);
  for (size_t i = 0; i < records.size(); ++i) {
    for (int level = branch_level(records, i, layout); level < num_levels; ++level) {
      const uint32_t node = nodes[level + 1]++;
      write_token(view, level, node, code_of(records[i], layout, level));
      if (level + 1 < num_levels) children[level + 1].begin(node, nodes[level + 2]);
      items[level + 1].begin(node, static_cast<uint32_t>(i));
    }
  }
  for (PartitionWriter& writer : children) writer.finish();
  for (PartitionWriter& writer : items) writer.finish();
}

int64_t id_of(const CatalogueCodes& catalogue, uint32_t row) {
  return catalogue.item_ids == nullptr ? row : catalogue.item_ids[row];
}

// Higher score first; equal scores by the hash of the id, which never ties.
void order_items(const CatalogueCodes& catalogue, const SidTrieView& view) {
  const auto before = [&catalogue](uint32_t a, uint32_t b) {
    if (catalogue.item_scores != nullptr && catalogue.item_scores[a] != catalogue.item_scores[b]) {
      return catalogue.item_scores[a] > catalogue.item_scores[b];
    }
    return item_hash(id_of(catalogue, a)) < item_hash(id_of(catalogue, b));
  };
  uint32_t* rows = writable(view.item_rows);
  for (uint32_t rank = 0; rank < view.num_sids(); ++rank) {
    const NodeRange range = view.items(rank);
    if (range.size() > 1) std::sort(rows + range.begin, rows + range.end, before);
  }
  for (uint32_t position = 0; position < view.num_items; ++position) {
    if (view.item_ids != nullptr) {
      writable(view.item_ids)[position] = catalogue.item_ids[rows[position]];
    }
    if (view.item_scores != nullptr) {
      writable(view.item_scores)[position] =
          static_cast<float>(catalogue.item_scores[rows[position]]);
    }
  }
}

void index_row_numbers(const SidTrieView& view) {
  for (uint32_t position = 0; position < view.num_items; ++position) {
    writable(view.position_by_id)[view.item_rows[position]] = position;
  }
}

void index_ids(const SidTrieView& view) {
  std::vector<SortRecord<1>> records(view.num_items);
  for (uint32_t position = 0; position < view.num_items; ++position) {
    records[position] = {{static_cast<uint64_t>(view.item_ids[position])}, position};
  }
  radix_sort<1>(records, {63});
  for (uint32_t i = 0; i < view.num_items; ++i) {
    if (i > 0 && records[i].key == records[i - 1].key) {
      const uint32_t rows[2] = {view.item_rows[records[i - 1].row], view.item_rows[records[i].row]};
      throw InvalidArgument(complaint(kWhere, "item_ids", "distinct ids",
                                      std::to_string(records[i].key[0]) + " at rows " +
                                          std::to_string(std::min(rows[0], rows[1])) + " and " +
                                          std::to_string(std::max(rows[0], rows[1]))));
    }
    writable(view.position_by_id)[i] = records[i].row;
  }
}

template <int kWords>
Bytes build(const CatalogueCodes& catalogue, const KeyLayout& layout) {
  std::vector<SortRecord<kWords>> records = pack<kWords>(catalogue, layout);
  std::array<int, kWords> bits;
  std::copy_n(layout.word_bits.begin(), kWords, bits.begin());
  radix_sort<kWords>(records, bits);

  TrieShape shape = count_nodes(records, layout, catalogue.level_sizes);
  shape.has_item_ids = catalogue.item_ids != nullptr;
  shape.has_item_scores = catalogue.keep_scores;
  Bytes image = make_image(shape);
  const SidTrieView view = unsealed_view(image);
  fill_levels(records, layout, view);
  for (uint32_t i = 0; i < view.num_items; ++i) writable(view.item_rows)[i] = records[i].row;
  std::vector<SortRecord<kWords>>().swap(records);

  order_items(catalogue, view);
  if (catalogue.item_ids == nullptr) {
    index_row_numbers(view);
  } else {
    index_ids(view);
  }
  seal_image(image);
  return image;
}

}  // namespace

Bytes build_image(const CatalogueCodes& catalogue) {
  check_sizes(catalogue);
  check_items(catalogue);
  const KeyLayout layout = key_layout(catalogue.level_sizes);
  return layout.num_words == 1 ? build<1>(catalogue, layout) : build<2>(catalogue, layout);
}

}  // namespace onesearch
