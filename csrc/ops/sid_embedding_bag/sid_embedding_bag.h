// Sums of the embeddings of semantic IDs over bags of items, and the gradient of their table.
#pragma once

#include <vector>

#include "core/tensor_view.h"

namespace onesearch {

// The items of all bags, one bag behind the other.
struct ItemBags {
  TensorView offsets;                      // [bag + 1] int64, rising from 0 to the number of items
  const TensorView* weights = nullptr;     // [item] float32; null: all 1
  const TensorView* bag_scales = nullptr;  // [bag] float32; null: all 1

  int64_t size() const { return offsets.shape[0] - 1; }
};

// Which rows of a table each item adds: row(i, l) = codes[i, l] + level_sizes[0] + ... +
// level_sizes[l - 1], and none where codes[i, l] is -1.
struct ItemRows {
  TensorView codes;                  // [item, level] int32, contiguous
  std::vector<int64_t> level_sizes;  // [level]

  int64_t num_rows() const {
    int64_t sum = 0;
    for (const int64_t size : level_sizes) sum += size;
    return sum;
  }
};

struct RowTable {
  ItemRows items;
  TensorView rows;                         // [row, dim] float32, bfloat16, float16 or int8
  const TensorView* row_scales = nullptr;  // [row] float32 beside int8 rows, else null
};

// out[b] = bag_scales[b] * sum over tables, items i of bag b and levels l of
//              weights[i] * row_scales[row(i, l)] * rows[row(i, l)]
// out: [bag, dim] float32, bfloat16 or float16, rounded once from float32. The same bits whatever
// the number of threads. 64 bags are summed together; levels that they look up often are read from
// the core's own cache.
void sid_embedding_bag(const ItemBags& bags, const std::vector<RowTable>& tables,
                       const TensorView& out);

// grad_table[r] = sum over terms of row r, in order, of weights[i] * bag_scales[b] * grad_out[b]
// grad_out: [bag, dim] float; grad_table: [row, dim] float32, overwritten. The same bits whatever
// the number of threads.
void sid_embedding_bag_backward(const ItemBags& bags, const ItemRows& items,
                                const TensorView& grad_out, const TensorView& grad_table);

// Throw what the functions above would throw, and compute nothing. Tensors may lie on a GPU, where
// the values of codes and offsets are not looked at.
void check_sid_embedding_bag(const ItemBags& bags, const std::vector<RowTable>& tables,
                             const TensorView& out);
void check_sid_embedding_bag_backward(const ItemBags& bags, const ItemRows& items,
                                      const TensorView& grad_out, const TensorView& grad_table);

}  // namespace onesearch
