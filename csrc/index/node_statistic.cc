#include "index/node_statistic.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "cpu/thread_pool.h"

namespace onesearch {
namespace {

constexpr int64_t kItemsPerTask = 1 << 14;

double sum_of(const float* values, uint32_t n) {
  double sum = 0;
  for (uint32_t i = 0; i < n; ++i) sum += values[i];
  return sum;
}

// As numpy's quantile: at place q (n - 1) of the sorted values.
double quantile_of(const float* values, uint32_t n, double q) {
  std::vector<float> sorted(values, values + n);
  const double place = q * (n - 1);
  const auto low = sorted.begin() + static_cast<std::ptrdiff_t>(place);
  std::nth_element(sorted.begin(), low, sorted.end());
  const double part = place - std::floor(place);
  if (part == 0) return *low;
  const double next = *std::min_element(low + 1, sorted.end());
  return *low + part * (next - *low);
}

double statistic_of(const NodeStatistic& statistic, const float* values, uint32_t n) {
  switch (statistic.kind) {
    case NodeStatistic::Kind::kCount:
      return n;
    case NodeStatistic::Kind::kSum:
      return sum_of(values, n);
    case NodeStatistic::Kind::kMean:
      return sum_of(values, n) / n;
    case NodeStatistic::Kind::kMax:
      return *std::max_element(values, values + n);
    case NodeStatistic::Kind::kQuantile:
      return quantile_of(values, n, statistic.quantile);
  }
  return 0;
}

}  // namespace

void node_statistic(const SidTrieView& trie, int level, const NodeStatistic& statistic,
                    const float* values, float* out) {
  const int64_t num_nodes = trie.num_nodes[level];
  const int64_t nodes_per_task = std::max<int64_t>(1, kItemsPerTask * num_nodes / trie.num_items);
  parallel_for(num_nodes, nodes_per_task, [&](int64_t begin, int64_t end) {
    for (int64_t node = begin; node < end; ++node) {
      const NodeRange items = trie.item_range(level, node);
      const float* first = values == nullptr ? nullptr : values + items.begin;
      out[node] =
          items.size() == 0 ? 0 : static_cast<float>(statistic_of(statistic, first, items.size()));
    }
  });
}

void order_by_position(const SidTrieView& trie, const float* by_row, float* by_position) {
  parallel_for(trie.num_items, kItemsPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t position = begin; position < end; ++position) {
      const int64_t row = trie.item_row(static_cast<uint32_t>(position));
      by_position[position] = row < 0 ? 0 : by_row[row];
    }
  });
}

}  // namespace onesearch
