// The children of many beams' nodes in a catalogue.
#pragma once

#include <vector>

#include "index/catalogue_view.h"
#include "ops/constrained_beam_step/child_kernels.h"

namespace onesearch {

class ChildLists {
 public:
  // Finds the children of the nodes node[i * stride] of `level`, i < n. The catalogue must outlive
  // what is asked next.
  void find(const CatalogueView& catalogue, int level, const int32_t* node, int64_t stride,
            int64_t n);

  // The children of node i; empty for a node that does not exist. Valid until the next call.
  ChildList of(uint32_t i);

  // Begins to fetch the tokens that `of` will give. find() has fetched the first of them.
  void prefetch(uint32_t i) const;

 private:
  ChildList in_base(NodeRange children) const;
  void merge(int64_t overlay_node);
  void append(uint32_t token, int64_t node);

  const CatalogueView* catalogue_ = nullptr;
  int level_ = 0;
  const int32_t* node_ = nullptr;
  int64_t stride_ = 0;
  std::vector<NodeRange> in_base_;  // empty for nodes of the overlay
  std::vector<uint16_t> merged_tokens_;
  std::vector<uint32_t> merged_nodes_;
};

}  // namespace onesearch
