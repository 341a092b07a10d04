#include "ops/constrained_beam_step/child_lists.h"

#include <algorithm>

namespace onesearch {
namespace {

constexpr int64_t kLine = 64;
// More of them than lines that a core fetches at once would only wait in its way.
constexpr int64_t kMostFetched = 2048;

}  // namespace

void ChildLists::find(const CatalogueView& catalogue, int level, const int32_t* node,
                      int64_t stride, int64_t n) {
  catalogue_ = &catalogue;
  level_ = level;
  node_ = node;
  stride_ = stride;
  in_base_.resize(static_cast<size_t>(n));
  child_kernels().find(catalogue.base, level, node, stride, n, in_base_.data());
}

ChildList ChildLists::of(uint32_t i) {
  const int64_t overlay_node = catalogue_->overlay_node(level_, node_[i * stride_]);
  if (overlay_node < 0) return in_base(in_base_[i]);
  merge(overlay_node);
  ChildList children;
  children.tokens = merged_tokens_.data();
  children.nodes = merged_nodes_.data();
  children.size = static_cast<uint32_t>(merged_nodes_.size());
  children.token_bytes = 2;
  return children;
}

void ChildLists::prefetch(uint32_t i) const {
  const ChildList children = in_base(in_base_[i]);
  const auto* tokens = static_cast<const char*>(children.tokens);
  const int64_t size = int64_t{children.size} * children.token_bytes;
  for (int64_t at = 0; at < std::min(size, kMostFetched); at += kLine) {
    __builtin_prefetch(tokens + at);
  }
}

ChildList ChildLists::in_base(NodeRange range) const {
  const SidTrieView& base = catalogue_->base;
  ChildList children;
  children.token_bytes = base.token_bytes(level_);
  children.tokens = static_cast<const uint8_t*>(base.child_token[level_]) +
                    int64_t{range.begin} * children.token_bytes;
  children.first_node = range.begin;
  children.size = range.size();
  return children;
}

// The union by token of the overlay's children and those of the same prefix in the base; where both
// have one, it is the overlay's.
void ChildLists::merge(int64_t overlay_node) {
  const SidTrieView& base = catalogue_->base;
  const SidTrieView& overlay = catalogue_->overlay;
  merged_tokens_.clear();
  merged_nodes_.clear();
  const NodeRange inserted = overlay.children(level_, overlay_node);
  const NodeRange old = base.children(level_, catalogue_->overlay_base[level_][overlay_node]);
  uint32_t next = old.begin;
  for (uint32_t edge = inserted.begin; edge < inserted.end; ++edge) {
    const uint32_t token = overlay.token(level_, edge);
    for (; next < old.end && base.token(level_, next) < token; ++next) {
      append(base.token(level_, next), next);
    }
    if (next < old.end && base.token(level_, next) == token) ++next;
    append(token, int64_t{base.num_nodes[level_ + 1]} + edge);
  }
  for (; next < old.end; ++next) append(base.token(level_, next), next);
}

void ChildLists::append(uint32_t token, int64_t node) {
  merged_tokens_.push_back(static_cast<uint16_t>(token));
  merged_nodes_.push_back(static_cast<uint32_t>(node));
}

}  // namespace onesearch
