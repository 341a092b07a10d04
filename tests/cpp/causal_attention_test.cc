// Every tier and type against plain sums in double, over memory that ends where the tensors end.
#include "ops/causal_attention/causal_attention.h"

#include <cmath>
#include <random>

#include "check.h"
#include "core/error.h"
#include "cpu/thread_pool.h"
#include "tensor.h"
#include "tiers.h"

using namespace onesearch;
using namespace onesearch::testing;

namespace {

struct Sizes {
  int64_t tokens;
  int64_t prompt;
  int64_t group;
  int64_t head_dim;
};

constexpr int64_t kBatch = 2;
constexpr int64_t kKvHeads = 2;

template <class T>
struct Attention {
  Tensor<T> query;
  Tensor<T> key;
  Tensor<T> value;
  Tensor<T> out;

  explicit Attention(const Sizes& s)
      : query{kBatch, s.tokens, kKvHeads * s.group, s.head_dim},
        key{kBatch, kKvHeads, s.prompt, s.head_dim},
        value{kBatch, kKvHeads, s.prompt, s.head_dim},
        out{kBatch, s.tokens, kKvHeads * s.group * s.head_dim} {
    std::mt19937 random(static_cast<unsigned>(s.tokens + s.prompt));
    std::normal_distribution<float> normal;
    for (auto* tensor : {&query, &key, &value}) {
      for (T& element : tensor->values) from_float(normal(random), &element);
    }
  }

  CausalAttentionInput input() const { return {query.view, key.view, value.view, 0.25f}; }

  void attend() const { causal_attention(input(), out.view); }

  double expected(int64_t b, int64_t t, int64_t h, int64_t i) const {
    const int64_t g = h / (query.view.shape[2] / kKvHeads);
    const int64_t last = key.view.shape[2] - query.view.shape[1] + t;
    double total = 0.0;
    double mixed = 0.0;
    for (int64_t k = 0; k <= last; ++k) {
      double score = 0.0;
      for (int64_t d = 0; d < query.view.shape[3]; ++d) {
        score +=
            static_cast<double>(to_float(query.at({b, t, h, d}))) * to_float(key.at({b, g, k, d}));
      }
      total += std::exp(0.25 * score);
      mixed += std::exp(0.25 * score) * to_float(value.at({b, g, k, i}));
    }
    return mixed / total;
  }

  void check(double tolerance) const {
    const int64_t head_dim = query.view.shape[3];
    for (int64_t b = 0; b < kBatch; ++b) {
      for (int64_t t = 0; t < query.view.shape[1]; t += 3) {
        for (int64_t h = 0; h < query.view.shape[2]; ++h) {
          for (int64_t i = 0; i < head_dim; i += 5) {
            const double got = to_float(out.at({b, t, h * head_dim + i}));
            CHECK(std::abs(got - expected(b, t, h, i)) <= tolerance);
          }
        }
      }
    }
  }
};

template <class T>
void run(const Sizes& sizes, double tolerance) {
  const Attention<T> attention(sizes);
  attention.attend();
  attention.check(tolerance);
}

}  // namespace

TEST_ON_EVERY_TIER(every_type_equals_plain_sums) {
  const Sizes shapes[] = {{1, 1, 1, 8},    {5, 5, 2, 16},     {1, 131, 2, 24}, {66, 66, 1, 40},
                          {33, 140, 3, 8}, {135, 135, 1, 32}, {9, 20, 2, 12},  {3, 5, 1, 1}};
  for (const Sizes& sizes : shapes) {
    run<float>(sizes, 2e-5);
    run<Float16>(sizes, 2e-3);
    run<BFloat16>(sizes, 2e-2);
  }
}

TEST(threads_share_a_call_without_changing_it) {
  const Sizes sizes{200, 200, 2, 64};
  const Attention<float> alone(sizes);
  const Attention<float> shared(sizes);
  const int before = num_threads();
  set_num_threads(1);
  alone.attend();
  set_num_threads(4);
  shared.attend();
  set_num_threads(before);
  CHECK(alone.out.values == shared.out.values);
}

TEST(the_scale_is_that_of_the_head_unless_one_is_given) {
  const Attention<float> attention({4, 6, 1, 16});
  const Attention<float> given({4, 6, 1, 16});
  CausalAttentionInput input = attention.input();
  input.scale.reset();
  CHECK(check_causal_attention(input, attention.out.view) == 0.25f);
  causal_attention(input, attention.out.view);
  given.attend();
  CHECK(attention.out.values == given.out.values);
}

TEST(what_does_not_fit_is_refused) {
  CHECK_THROWS(InvalidArgument, "query: expected at most prompt = 6 tokens, got 7",
               Attention<float>({7, 6, 1, 8}).attend());
  Attention<float> sealed({4, 6, 1, 8});
  sealed.out.view.read_only = true;
  CHECK_THROWS(InvalidArgument, "out: expected writable memory", sealed.attend());
}
