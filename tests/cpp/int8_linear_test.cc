// Products of bytes, on every tier and at every shape of a tile.
#include "ops/int8_linear/int8_linear.h"

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "check.h"
#include "core/error.h"
#include "cpu/thread_pool.h"
#include "tiers.h"

using namespace onesearch;
using namespace onesearch::testing;

namespace {

constexpr int64_t kBlock = 16;

// A product in float32 whose arrays are exactly as long as they must be.
struct Product {
  int64_t rows, in, out;
  std::vector<float> x, scale, bias, result;
  std::vector<uint8_t> weight;

  Product(int64_t rows_, int64_t in_, int64_t out_, uint32_t seed = 1)
      : rows(rows_),
        in(in_),
        out(out_),
        x(rows * in),
        scale(out),
        bias(out),
        result(rows * out),
        weight(out * in) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (float& value : x) value = normal(random);
    for (float& value : scale) value = 0.01f + std::abs(normal(random));
    for (float& value : bias) value = normal(random);
    for (uint8_t& value : weight) value = static_cast<uint8_t>(1 + random() % 255);
  }

  static TensorView view(void* data, DType dtype, std::initializer_list<int64_t> shape) {
    TensorView tensor;
    tensor.data = data;
    tensor.dtype = dtype;
    int64_t stride = 1;
    for (const int64_t size : shape) tensor.shape[tensor.ndim++] = size;
    for (int axis = tensor.ndim - 1; axis >= 0; --axis) {
      tensor.strides[axis] = stride;
      stride *= tensor.shape[axis];
    }
    return tensor;
  }

  TensorView out_view() { return view(result.data(), DType::kFloat32, {rows, out}); }

  Int8LinearInput input() {
    return {view(x.data(), DType::kFloat32, {rows, in}),
            view(weight.data(), DType::kUInt8, {out / kBlock, in / 4, kBlock, 4}),
            view(scale.data(), DType::kFloat32, {out})};
  }

  void run() { int8_linear(input(), out_view()); }

  int weight_at(int64_t output, int64_t j) const {
    const int64_t block = output / kBlock * in * kBlock;
    return weight[block + (j / 4 * kBlock + output % kBlock) * 4 + j % 4] - 128;
  }

  double expected(int64_t row, int64_t output) const {
    float most = 0.0f;
    for (int64_t j = 0; j < in; ++j) most = std::max(most, std::abs(x[row * in + j]));
    const float inverse = most > 0.0f ? 127.0f / most : 0.0f;
    int64_t sum = 0;
    for (int64_t j = 0; j < in; ++j) {
      sum += std::lrint(x[row * in + j] * inverse) * weight_at(output, j);
    }
    return static_cast<double>(sum) * (most / 127.0f) * scale[output];
  }

  void check() {
    run();
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t output = 0; output < out; ++output) {
        const double want = expected(row, output);
        CHECK(std::abs(result[row * out + output] - want) <= 1e-5 + 1e-5 * std::abs(want));
      }
    }
  }
};

}  // namespace

TEST_ON_EVERY_TIER(int8_products_are_those_of_whole_numbers) {
  for (const int64_t rows : {1, 2, 5, 6, 7, 12, 13}) {
    for (const int64_t out : {16, 48, 64, 80}) Product(rows, 20, out).check();
  }
  Product(3, 772, 64).check();
  Product(200, 8, 160).check();
}

TEST_ON_EVERY_TIER(int8_products_do_not_saturate) {
  Product product(2, 4096, 16);
  for (float& value : product.x) value = 1.0f;
  for (uint8_t& value : product.weight) value = 255;
  product.check();
  for (uint8_t& value : product.weight) value = 1;
  product.check();
}

TEST(int8_products_have_the_same_bits_on_vector_tiers_and_any_threads) {
  const int threads = num_threads();
  const IsaTier before = isa_tier();
  std::vector<std::vector<float>> results;
  for (const IsaTier tier : usable_tiers()) {
    set_isa_tier(tier);
    for (const int number : {1, 3}) {
      set_num_threads(number);
      Product product(101, 256, 320);
      product.run();
      results.push_back(product.result);
    }
  }
  set_isa_tier(before);
  set_num_threads(threads);
  for (const auto& result : results) CHECK(result == results[0]);
}

TEST(int8_products_refuse_what_does_not_fit) {
  Product product(2, 8, 16);
  Int8LinearInput input = product.input();
  input.weight.shape[0] = 2;
  CHECK_THROWS(InvalidArgument, "out", int8_linear(input, product.out_view()));
  input = product.input();
  input.added = input.factor = &input.x;
  CHECK_THROWS(InvalidArgument, "factor", int8_linear(input, product.out_view()));
}
