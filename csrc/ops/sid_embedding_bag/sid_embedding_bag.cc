#include "ops/sid_embedding_bag/sid_embedding_bag.h"

#include <algorithm>
#include <memory>

#include "core/tensor_check.h"
#include "cpu/thread_pool.h"
#include "ops/sid_embedding_bag/term_lists.h"

namespace onesearch {
namespace {

// A tile of so many rows, and the sums of so many bags, of so many columns (32 KiB each), stay near
// the core while every bag of a group adds its terms of the tile.
constexpr uint32_t kTileRows = 64;
constexpr int64_t kBagsPerGroup = 64;
constexpr int64_t kColumns = 128;
// Levels whose rows a group reads at least so often each are read from tiles: copying a row costs
// as much as adding it some three times, and lists of few terms as much again.
constexpr int64_t kReadsPerTiledRow = 8;
constexpr int64_t kRowsPerTask = 64;
constexpr int64_t kBagsPerTask = 8;

struct Block {
  int64_t begin;
  int64_t width;
};

int64_t parts_of(int64_t n, int64_t size) { return (n + size - 1) / size; }

Block block_of(int64_t number, int64_t dim) {
  const int64_t begin = number * kColumns;
  return {begin, std::min(kColumns, dim - begin)};
}

// Floats that begin a cache line: vectors that straddle two lines are read at half the speed.
class AlignedFloats {
 public:
  explicit AlignedFloats(int64_t count) : memory_(new float[count + kLine]) {
    const auto address = reinterpret_cast<uintptr_t>(memory_.get());
    begin_ = memory_.get() + (kLine - address / sizeof(float) % kLine) % kLine;
  }
  float* data() const { return begin_; }

 private:
  static constexpr int64_t kLine = 16;
  std::unique_ptr<float[]> memory_;
  float* begin_;
};

Columns columns_of(const TensorView& rows, const TensorView* scales, const Block& block) {
  const auto* data = static_cast<const unsigned char*>(rows.data);
  return {data + block.begin * dtype_bytes(rows.dtype), rows.strides[0],
          scales == nullptr ? nullptr : scales->at<const float>(0), block.width, false};
}

// What a group of bags adds from one level of a table, tile by tile.
struct TiledLevel {
  Level level;
  TermLists terms;  // by tile and bag: rows of the tile

  int64_t tiles() const { return parts_of(level.size, kTileRows); }

  void sort(const ItemBags& bags, const ItemRows& items, int64_t first, int64_t last) {
    const auto num_bags = static_cast<uint32_t>(last - first);
    terms =
        TermLists(bags, items, {level}, first, last, tiles() * num_bags,
                  [=](const Level&, uint32_t bag, uint32_t code) {
                    return TermLists::Place{code / kTileRows * num_bags + bag, code % kTileRows};
                  });
  }

  void add(const Columns& table, DType dtype, int64_t num_bags, const Sums& sums) const {
    alignas(64) float rows[kTileRows * kColumns];
    const Columns packed{rows, table.width, nullptr, table.width, true};
    for (int64_t tile = 0; tile < tiles(); ++tile) {
      const int64_t first = tile * kTileRows;
      const int64_t count = std::min<int64_t>(kTileRows, level.size - first);
      row_kernels().pack.of(dtype)(table, level.base + first, count, rows);
      row_kernels().gather.of(DType::kFloat32)(packed, terms.lists(tile * num_bags, num_bags),
                                               sums);
    }
  }
};

// What a group of bags adds from one table: some levels in tiles, the others where they lie.
class GroupTerms {
 public:
  GroupTerms(const ItemBags& bags, const ItemRows& items, int64_t first, int64_t last)
      : first_(first), last_(last) {
    const int64_t num_items = first_item(bags, last) - first_item(bags, first);
    for (const Level& level : levels_of(items)) {
      if (num_items >= level.size * kReadsPerTiledRow) {
        tiled_.push_back({level, {}});
      } else {
        direct_levels_.push_back(level);
      }
    }
  }

  bool tiled() const { return !tiled_.empty(); }

  // Sorts to do before anything is added; they do not depend on each other.
  int64_t sorts() const { return 1 + static_cast<int64_t>(tiled_.size()); }

  void sort(const ItemBags& bags, const ItemRows& items, int64_t number) {
    if (number > 0) return tiled_[number - 1].sort(bags, items, first_, last_);
    direct_ = TermLists(bags, items, direct_levels_, first_, last_, last_ - first_,
                        [](const Level& level, uint32_t bag, uint32_t code) {
                          return TermLists::Place{bag, level.base + code};
                        });
  }

  // Of one bag of the group.
  void add_direct(const Columns& table, DType dtype, int64_t bag, const Sums& sum) const {
    row_kernels().gather.of(dtype)(table, direct_.lists(bag, 1), sum);
  }

  // Of all bags.
  void add_tiled(const Columns& table, DType dtype, const Sums& sums) const {
    for (const TiledLevel& level : tiled_) level.add(table, dtype, last_ - first_, sums);
  }

 private:
  int64_t first_;
  int64_t last_;
  std::vector<Level> direct_levels_;
  TermLists direct_;  // by bag: rows of the table
  std::vector<TiledLevel> tiled_;
};

// Up to kBagsPerGroup bags and their sums. Whole rows are read where they lie, so that each of
// their pages is looked up once; tiles are read block of columns by block.
class Group {
 public:
  Group(const ItemBags& bags, const std::vector<RowTable>& tables, int64_t number)
      : first_(number * kBagsPerGroup), last_(std::min(first_ + kBagsPerGroup, bags.size())) {
    for (const RowTable& table : tables) {
      terms_.emplace_back(bags, table.items, first_, last_);
      tiled_ = tiled_ || terms_.back().tiled();
    }
    if (tiled_) sums_ = AlignedFloats((last_ - first_) * stride(tables));
  }

  std::vector<GroupTerms>& terms() { return terms_; }

  // What one of the bags reads where it lies; the bag's final sum where nothing is tiled.
  void add_direct(const ItemBags& bags, const std::vector<RowTable>& tables, int64_t bag,
                  float* scratch, const TensorView& out) const {
    const Block all{0, out.shape[1]};
    float* sum = tiled_ ? sums_.data() + (bag - first_) * stride(tables) : scratch;
    for (size_t i = 0; i < tables.size(); ++i) {
      const Columns columns = columns_of(tables[i].rows, tables[i].row_scales, all);
      terms_[i].add_direct(columns, tables[i].rows.dtype, bag - first_, {sum, 0, i == 0});
    }
    if (!tiled_) store(bags, bag, all, sum, out);
  }

  // Columns of what the bags read from tiles, and of their final sums.
  void add_tiled(const ItemBags& bags, const std::vector<RowTable>& tables, const Block& block,
                 const TensorView& out) const {
    if (!tiled_) return;
    const Sums sums{sums_.data() + block.begin, stride(tables), false};
    for (size_t i = 0; i < tables.size(); ++i) {
      const Columns columns = columns_of(tables[i].rows, tables[i].row_scales, block);
      terms_[i].add_tiled(columns, tables[i].rows.dtype, sums);
    }
    for (int64_t bag = first_; bag < last_; ++bag) {
      store(bags, bag, block, sums.data + (bag - first_) * sums.stride, out);
    }
  }

 private:
  // A line more than a whole number of lines: powers of two apart, sums would share cache sets.
  static int64_t stride(const std::vector<RowTable>& tables) {
    return (tables.front().rows.shape[1] + 15) / 16 * 16 + 16;
  }

  static void store(const ItemBags& bags, int64_t bag, const Block& block, const float* sum,
                    const TensorView& out) {
    const float scale = bags.bag_scales == nullptr ? 1.0f : *bags.bag_scales->at<const float>(bag);
    const int64_t at = (bag * out.strides[0] + block.begin) * dtype_bytes(out.dtype);
    row_kernels().store.of(out.dtype)(sum, scale, block.width,
                                      static_cast<unsigned char*>(out.data) + at);
  }

  int64_t first_ = 0;
  int64_t last_ = 0;
  bool tiled_ = false;
  std::vector<GroupTerms> terms_;
  AlignedFloats sums_{0};
};

// All sorts of all groups.
void sort_terms(std::vector<Group>& groups, const ItemBags& bags,
                const std::vector<RowTable>& tables) {
  struct Sort {
    GroupTerms* terms;
    const ItemRows* items;
    int64_t number;
  };
  std::vector<Sort> sorts;
  for (Group& group : groups) {
    for (size_t table = 0; table < tables.size(); ++table) {
      GroupTerms& terms = group.terms()[table];
      for (int64_t number = 0; number < terms.sorts(); ++number) {
        sorts.push_back({&terms, &tables[table].items, number});
      }
    }
  }
  parallel_for(static_cast<int64_t>(sorts.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t at = begin; at < end; ++at) {
      sorts[at].terms->sort(bags, *sorts[at].items, sorts[at].number);
    }
  });
}

// The scaled gradient, block of columns by block: rows that many terms read lie close together.
AlignedFloats packed_gradient(const ItemBags& bags, const TensorView& grad_out) {
  const int64_t dim = grad_out.shape[1];
  AlignedFloats packed(bags.size() * dim);
  parallel_for(parts_of(dim, kColumns), 1, [&](int64_t begin, int64_t end) {
    for (int64_t number = begin; number < end; ++number) {
      const Block block = block_of(number, dim);
      const Columns columns = columns_of(grad_out, bags.bag_scales, block);
      float* to = packed.data() + block.begin * bags.size();
      row_kernels().pack.of(grad_out.dtype)(columns, 0, bags.size(), to);
    }
  });
  return packed;
}

}  // namespace

void sid_embedding_bag(const ItemBags& bags, const std::vector<RowTable>& tables,
                       const TensorView& out) {
  check_sid_embedding_bag(bags, tables, out);
  TensorCheck("sid_embedding_bag").on_cpu(out, "table");
  const int64_t num_groups = parts_of(bags.size(), kBagsPerGroup);
  std::vector<Group> groups;
  for (int64_t number = 0; number < num_groups; ++number) {
    groups.emplace_back(bags, tables, number);
  }
  sort_terms(groups, bags, tables);
  parallel_for(bags.size(), kBagsPerTask, [&](int64_t begin, int64_t end) {
    const AlignedFloats scratch(out.shape[1]);
    for (int64_t bag = begin; bag < end; ++bag) {
      groups[bag / kBagsPerGroup].add_direct(bags, tables, bag, scratch.data(), out);
    }
  });
  const int64_t blocks = parts_of(out.shape[1], kColumns);
  parallel_for(num_groups * blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const Block block = block_of(task % blocks, out.shape[1]);
      groups[task / blocks].add_tiled(bags, tables, block, out);
    }
  });
}

void sid_embedding_bag_backward(const ItemBags& bags, const ItemRows& items,
                                const TensorView& grad_out, const TensorView& grad_table) {
  check_sid_embedding_bag_backward(bags, items, grad_out, grad_table);
  TensorCheck("sid_embedding_bag").on_cpu(grad_out, "grad_out");
  const int64_t dim = grad_out.shape[1];
  const int64_t num_rows = items.num_rows();
  const TermLists terms(bags, items, levels_of(items), 0, bags.size(), num_rows,
                        [](const Level& level, uint32_t bag, uint32_t code) {
                          return TermLists::Place{level.base + code, bag};
                        });
  const AlignedFloats packed = packed_gradient(bags, grad_out);
  const int64_t parts = parts_of(num_rows, kRowsPerTask);
  parallel_for(parts_of(dim, kColumns) * parts, 16, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const Block block = block_of(task / parts, dim);
      const int64_t first = task % parts * kRowsPerTask;
      const int64_t count = std::min(kRowsPerTask, num_rows - first);
      const float* gradient = packed.data() + block.begin * bags.size();
      row_kernels().gather.of(DType::kFloat32)(
          {gradient, block.width, nullptr, block.width, true}, terms.lists(first, count),
          {grad_table.at<float>(first) + block.begin, grad_table.strides[0], true});
    }
  });
}

}  // namespace onesearch
