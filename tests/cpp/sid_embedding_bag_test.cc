// Sums of rows over bags, and the gradient of their table, against loops in double precision.
#include "ops/sid_embedding_bag/sid_embedding_bag.h"

#include <cmath>
#include <random>
#include <tuple>
#include <vector>

#include "check.h"
#include "core/error.h"
#include "cpu/thread_pool.h"
#include "tiers.h"

using namespace onesearch;
using namespace onesearch::testing;

namespace {

template <class T>
TensorView view(std::vector<T>& data, DType dtype, int64_t rows, int64_t columns = 0) {
  TensorView tensor;
  tensor.data = data.data();
  tensor.dtype = dtype;
  tensor.ndim = columns == 0 ? 1 : 2;
  tensor.shape = {rows, columns};
  tensor.strides = {columns == 0 ? 1 : columns, 1};
  return tensor;
}

// Histories of random items: the first level is read often enough for tiles, the second is not.
struct Example {
  int64_t num_bags;
  int64_t items_per_bag;
  int64_t dim;
  std::vector<int64_t> level_sizes{70, 3000};
  std::vector<int32_t> codes;
  std::vector<int64_t> offsets;
  std::vector<float> weights, table, out, grad_table;

  Example(int64_t bags, int64_t items, int64_t columns)
      : num_bags(bags), items_per_bag(items), dim(columns) {
    std::mt19937 random(static_cast<uint32_t>(bags + columns));
    std::normal_distribution<float> normal;
    for (int64_t bag = 0; bag <= bags; ++bag) offsets.push_back(bag * items);
    for (int64_t item = 0; item < bags * items; ++item) {
      for (const int64_t size : level_sizes) {
        codes.push_back(static_cast<int32_t>(random() % (size + 1)) - 1);
      }
      weights.push_back(normal(random));
    }
    table.resize(static_cast<size_t>(num_rows() * dim));
    for (float& x : table) x = normal(random);
    out.assign(static_cast<size_t>(bags * dim), 1e4f);
    grad_table.assign(table.size(), 1e4f);
  }

  int64_t num_rows() const { return level_sizes[0] + level_sizes[1]; }

  template <class Run>
  void with_bags(const Run& run) {
    const auto num_items = static_cast<int64_t>(weights.size());
    const TensorView of_items = view(weights, DType::kFloat32, num_items);
    const ItemBags bags{view(offsets, DType::kInt64, num_bags + 1), &of_items, nullptr};
    run(bags, ItemRows{view(codes, DType::kInt32, num_items, 2), level_sizes});
  }

  void forward() {
    with_bags([&](const ItemBags& bags, const ItemRows& items) {
      const TensorView rows = view(table, DType::kFloat32, num_rows(), dim);
      sid_embedding_bag(bags, {{items, rows, nullptr}}, view(out, DType::kFloat32, num_bags, dim));
    });
  }

  // With the sums as their own gradient.
  void backward() {
    with_bags([&](const ItemBags& bags, const ItemRows& items) {
      sid_embedding_bag_backward(bags, items, view(out, DType::kFloat32, num_bags, dim),
                                 view(grad_table, DType::kFloat32, num_rows(), dim));
    });
  }

  // Calls take(bag, row, weight) for every term.
  template <class Take>
  void for_each_term(const Take& take) const {
    for (size_t at = 0; at < codes.size(); ++at) {
      if (codes[at] < 0) continue;
      const auto item = static_cast<int64_t>(at / 2);
      take(item / items_per_bag, codes[at] + static_cast<int64_t>(at % 2) * level_sizes[0],
           weights[item]);
    }
  }
};

bool near(const std::vector<float>& got, const std::vector<double>& want) {
  for (size_t at = 0; at < got.size(); ++at) {
    if (!(std::abs(got[at] - want[at]) <= 1e-3 + 1e-4 * std::abs(want[at]))) return false;
  }
  return true;
}

}  // namespace

TEST_ON_EVERY_TIER(sums_and_gradients_are_those_of_loops) {
  for (const auto& [bags, items, dim] :
       {std::tuple{1, 3, 1}, {70, 20, 130}, {9, 200, 17}, {130, 9, 256}, {3, 0, 5}}) {
    Example example(bags, items, dim);
    example.forward();
    std::vector<double> sums(example.out.size(), 0.0), gradient(example.table.size(), 0.0);
    example.for_each_term([&](int64_t bag, int64_t row, double weight) {
      for (int64_t c = 0; c < dim; ++c) {
        sums[bag * dim + c] += weight * example.table[row * dim + c];
      }
    });
    CHECK(near(example.out, sums));
    example.backward();
    example.for_each_term([&](int64_t bag, int64_t row, double weight) {
      for (int64_t c = 0; c < dim; ++c) {
        gradient[row * dim + c] += weight * example.out[bag * dim + c];
      }
    });
    CHECK(near(example.grad_table, gradient));
  }
}

TEST(bits_do_not_depend_on_threads) {
  const int before = num_threads();
  std::vector<std::vector<float>> results;
  for (const int count : {1, 2, 4}) {
    set_num_threads(count);
    Example example(100, 30, 200);
    example.forward();
    example.backward();
    results.push_back(example.out);
    results.push_back(example.grad_table);
  }
  set_num_threads(before);
  for (size_t at = 2; at < results.size(); ++at) CHECK(results[at] == results[at % 2]);
}

TEST(codes_and_offsets_are_checked) {
  Example high(2, 5, 8);
  high.codes[7] = 3000;
  CHECK_THROWS(InvalidArgument, "less than 3000, got 3000 at [3, 1]", high.forward());
  Example low(2, 5, 8);
  low.codes[2] = -2;
  CHECK_THROWS(InvalidArgument, "got -2 at [1, 0]", low.backward());
  Example falling(2, 5, 8);
  falling.offsets[1] = 11;
  CHECK_THROWS(InvalidArgument, "offsets", falling.forward());
}
