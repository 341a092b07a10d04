// From unsorted codes to a trie image.
#pragma once

#include <cstdint>
#include <vector>

#include "core/tensor_view.h"
#include "index/trie_image.h"

namespace onesearch {

struct CatalogueCodes {
  TensorView codes;                     // [num_items, num_levels], any integer dtype and strides
  std::vector<int64_t> level_sizes;     // [num_levels]
  const int64_t* item_ids = nullptr;    // [num_items], distinct and >= 0; null: row numbers
  const double* item_scores = nullptr;  // [num_items], higher first inside one SID; null: all equal
  bool keep_scores = false;             // store item_scores, as float32
};

// Cost: a radix sort of num_items keys and two linear passes; peak memory about 40 bytes an item
// beside the image.
Bytes build_image(const CatalogueCodes& catalogue);

}  // namespace onesearch
