// Products of bfloat16 with packed weights, on every tier and at every shape of a tile.
#include "ops/bf16_linear/bf16_linear.h"

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "check.h"
#include "core/dtype.h"
#include "core/error.h"
#include "cpu/thread_pool.h"
#include "ops/bf16_linear/bf16_linear_kernels.h"
#include "tiers.h"

using namespace onesearch;
using namespace onesearch::testing;

namespace {

// Arrays are exactly as long as they must be. Rows of x and of the result lie `gap` apart.
struct Product {
  int64_t rows, in, out, gap;
  std::vector<BFloat16> x, weight, other, bias, result;

  Product(int64_t rows_, int64_t in_, int64_t out_, int64_t gap_ = 0)
      : rows(rows_),
        in(in_),
        out(out_),
        gap(gap_),
        x(rows * (in + gap)),
        weight(out * in),
        other(rows * out),
        bias(out),
        result(rows * (out + gap)) {
    std::mt19937 random(static_cast<uint32_t>(rows + 100 * in));
    std::normal_distribution<float> normal;
    for (auto* array : {&x, &weight, &other, &bias, &result}) {
      for (BFloat16& value : *array) from_float(normal(random), &value);
    }
  }

  static TensorView view(std::vector<BFloat16>& data, std::initializer_list<int64_t> shape,
                         int64_t gap = 0) {
    TensorView tensor;
    tensor.data = data.data();
    tensor.dtype = DType::kBFloat16;
    int64_t stride = 1;
    for (const int64_t size : shape) tensor.shape[tensor.ndim++] = size;
    for (int axis = tensor.ndim - 1; axis >= 0; --axis) {
      tensor.strides[axis] = stride;
      stride = stride * tensor.shape[axis] + (axis == tensor.ndim - 1 ? gap : 0);
    }
    return tensor;
  }

  Bf16LinearInput input() {
    return {view(x, {rows, in}, gap),
            view(weight, {out / kPanelOutputs, in / 2, kPanelOutputs, 2}),
            {}};
  }

  TensorView out_view() { return view(result, {rows, out}, gap); }

  float weight_at(int64_t output, int64_t j) const {
    const int64_t panel = output / kPanelOutputs * in * kPanelOutputs;
    return to_float(weight[panel + (j / 2 * kPanelOutputs + output % kPanelOutputs) * 2 + j % 2]);
  }

  void check_at(int64_t row, int64_t output, double sum) const {
    double size = 0.0;
    for (int64_t j = 0; j < in; ++j) {
      const double product = to_float(x[row * (in + gap) + j]) * weight_at(output, j);
      sum += product;
      size += std::abs(product);
    }
    const double got = to_float(result[row * (out + gap) + output]);
    CHECK(std::abs(got - sum) <= std::abs(sum) / 256 + 1e-6 * size);
  }

  void check() {
    bf16_linear(input(), out_view());
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t output = 0; output < out; ++output) check_at(row, output, 0.0);
    }
  }
};

std::vector<uint16_t> bits(const std::vector<BFloat16>& values) {
  std::vector<uint16_t> bits;
  for (const BFloat16 value : values) bits.push_back(value.bits);
  return bits;
}

// Of the tier's own kernel, whatever the processor could multiply with.
std::vector<uint16_t> tile_bits(const Bf16LinearKernels& kernels) {
  Product product(5, 38, kPanelOutputs);
  const Bf16LinearInput input = product.input();
  kernels.multiply({5, 38, input.x.at<const uint16_t>(0), input.x.strides[0],
                    input.weight.at<const uint16_t>(0), input.end.at(product.out_view(), 0, 0)});
  return bits(product.result);
}

}  // namespace

TEST_ON_EVERY_TIER(bf16_products_are_those_of_a_plain_loop) {
  for (const int64_t rows : {0, 1, 2, 3, 4, 5, 6, 7, 13}) {
    for (const int64_t in : {0, 2, 34}) Product(rows, in, 128, rows % 3).check();
  }
  Product(200, 6, 64).check();
  Product(3, 1538, 192, 1).check();
}

TEST_ON_EVERY_TIER(bf16_products_may_be_added_to_what_they_overwrite) {
  Product product(9, 64, 128);
  const std::vector<BFloat16> before = product.result;
  Bf16LinearInput input = product.input();
  const TensorView out = product.out_view();
  const TensorView bias = Product::view(product.bias, {product.out});
  input.end = {&bias, Activation::kNone, &out, nullptr};
  bf16_linear(input, out);
  for (int64_t row = 0; row < product.rows; ++row) {
    for (int64_t output = 0; output < product.out; ++output) {
      const double added = to_float(before[row * product.out + output]);
      product.check_at(row, output, added + to_float(product.bias[output]));
    }
  }
}

TEST_ON_EVERY_TIER(bf16_products_have_the_same_bits_on_any_threads_and_beside_any_rows) {
  const int threads = num_threads();
  std::vector<std::vector<uint16_t>> results;
  for (const int number : {1, 3}) {
    set_num_threads(number);
    Product product(101, 256, 320);
    bf16_linear(product.input(), product.out_view());
    results.push_back(bits(product.result));
    for (const int64_t row : {0, 57, 100}) {
      Bf16LinearInput one = product.input();
      TensorView out = product.out_view();
      one.x.data = one.x.at<BFloat16>(row);
      out.data = out.at<BFloat16>(row);
      one.x.shape[0] = out.shape[0] = 1;
      bf16_linear(one, out);
    }
    results.push_back(bits(product.result));
  }
  set_num_threads(threads);
  for (const auto& result : results) CHECK(result == results[0]);
}

#if defined(__x86_64__)
TEST(bf16_products_have_the_same_bits_on_vector_tiers) {
  if (usable_tiers().back() != IsaTier::kAvx512) return;
  CHECK(tile_bits(avx2::bf16_linear_kernels) == tile_bits(avx512::bf16_linear_kernels));
}
#endif

TEST(bf16_products_refuse_what_does_not_fit) {
  Product product(2, 8, 64);
  Bf16LinearInput input = product.input();
  input.weight.shape[0] = 2;
  CHECK_THROWS(InvalidArgument, "out", bf16_linear(input, product.out_view()));
  input = product.input();
  input.weight.strides[0] = input.weight.strides[1] = 1;
  CHECK_THROWS(InvalidArgument, "contiguous", bf16_linear(input, product.out_view()));
  input = product.input();
  input.end.added = input.end.factor = &input.x;
  CHECK_THROWS(InvalidArgument, "factor", bf16_linear(input, product.out_view()));
}
