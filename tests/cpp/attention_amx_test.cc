// Attention by tiles beside the products of lanes, over memory that ends where keys end. Two
// programs: in one the tiles are emulated, in the other they are the processor's, where it has
// them. The tests of both operators are in these programs too.
#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "check.h"
#include "cpu/amx.h"
#include "cpu/attention.h"
#include "cpu/attention_tile.h"
#include "cpu/cpuid.h"
#include "tensor.h"

using namespace onesearch;
using namespace onesearch::testing;

namespace {

bool can_run() { return cpu_has({"avx512_bf16"}) && amx_bf16_usable(); }

struct Sizes {
  int rows;
  int64_t num_keys;
  int64_t head_dim;
};

struct Rows {
  Tensor<BFloat16> query;
  Tensor<BFloat16> key;
  Tensor<BFloat16> value;
  bool causal = false;

  explicit Rows(const Sizes& s)
      : query{s.rows, s.head_dim}, key{s.num_keys, s.head_dim}, value{s.num_keys, s.head_dim} {
    std::mt19937 random(static_cast<unsigned>(s.rows + s.num_keys + s.head_dim));
    std::normal_distribution<float> normal;
    for (auto* tensor : {&query, &key, &value}) {
      for (BFloat16& element : tensor->values) from_float(normal(random), &element);
    }
  }

  void set(Tensor<BFloat16>* tensor, int64_t row, int64_t i, float x) const {
    from_float(x, tensor->view.at<BFloat16>(row, i));
  }

  // Rows [first, first + count) attended as one tile.
  std::vector<float> attended(AttendTile kernel, int first, int count) const {
    const int64_t head_dim = query.view.shape[1];
    const int64_t num_keys = key.view.shape[0];
    Tensor<BFloat16> out{count, head_dim};
    AttentionTile tile{};
    tile.head_dim = head_dim;
    tile.scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
    tile.rows = count;
    tile.key = {key.view.data, head_dim};
    tile.value = {value.view.data, head_dim};
    tile.num_keys = num_keys;
    tile.causal = causal;
    for (int i = 0; i < kTileRows; ++i) {
      const int row = std::min(i, count - 1);
      tile.query[i] = query.view.at<BFloat16>(first + row, 0);
      tile.out[i] = out.view.at<BFloat16>(row, 0);
      tile.visible[i] = static_cast<uint32_t>(num_keys - count + row + 1);
    }
    const auto floats = static_cast<size_t>(attention_workspace(head_dim, 0));
    std::vector<float> memory(floats + 16, std::numeric_limits<float>::quiet_NaN());
    const auto address = reinterpret_cast<uintptr_t>(memory.data());
    kernel(tile, memory.data() + (64 - address % 64) % 64 / sizeof(float));
    std::vector<float> result;
    for (const BFloat16 element : out.values) result.push_back(to_float(element));
    return result;
  }

  void check() const {
    const int rows = static_cast<int>(query.view.shape[0]);
    const auto tiles = attended(amx_bf16::attend_bfloat16, 0, rows);
    const auto lanes = attended(avx512_bf16::attend_bfloat16, 0, rows);
    for (size_t i = 0; i < tiles.size(); ++i) {
      const bool same = tiles[i] == lanes[i] || (std::isnan(tiles[i]) && std::isnan(lanes[i]));
      CHECK(same || std::abs(tiles[i] - lanes[i]) <= 1e-2f * (1.0f + std::abs(lanes[i])));
    }
  }
};

}  // namespace

TEST(tiles_are_chosen) { CHECK(!can_run() || std::string(bfloat16_attention()) == "amx_bf16"); }

TEST(every_edge_of_a_tile_equals_lanes) {
  if (!can_run()) return;
  for (const int64_t head_dim : {8, 16, 24, 40, 64, 136, 512}) {
    for (const int64_t num_keys : {0, 1, 2, 15, 16, 17, 31, 33, 128, 129, 161}) {
      for (const int rows : {1, 17, 33, 64}) Rows({rows, num_keys, head_dim}).check();
    }
  }
}

TEST(keys_after_a_query_are_hidden_from_it) {
  if (!can_run()) return;
  for (const Sizes& sizes : {Sizes{64, 64, 40}, Sizes{33, 150, 64}, Sizes{20, 129, 8}}) {
    Rows rows(sizes);
    rows.causal = true;
    rows.check();
  }
}

TEST(infinities_and_nans_go_where_lanes_send_them) {
  if (!can_run()) return;
  constexpr float kInf = std::numeric_limits<float>::infinity();
  for (const float bad : {-kInf, kInf, std::numeric_limits<float>::quiet_NaN()}) {
    Rows in_query({20, 37, 24});
    in_query.set(&in_query.query, 18, 23, bad);
    in_query.check();
    Rows in_key({20, 37, 24});
    in_key.set(&in_key.key, 36, 0, bad);
    in_key.check();
    Rows in_value({20, 37, 24});
    in_value.set(&in_value.value, 36, 23, bad);
    in_value.check();
  }
}

TEST(a_query_has_the_same_bits_in_any_tile) {
  if (!can_run()) return;
  const Rows rows({64, 145, 40});
  const auto all = rows.attended(amx_bf16::attend_bfloat16, 0, 64);
  for (const int row : {0, 15, 16, 50, 63}) {
    const auto alone = rows.attended(amx_bf16::attend_bfloat16, row, 1);
    CHECK(std::equal(alone.begin(), alone.end(), all.begin() + row * 40));
  }
}
