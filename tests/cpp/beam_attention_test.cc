// Every tier and type against plain sums in double, over memory that ends where the tensors end.
#include "ops/beam_attention/beam_attention.h"

#include <cmath>
#include <random>
#include <vector>

#include "check.h"
#include "core/error.h"
#include "cpu/thread_pool.h"
#include "tensor.h"
#include "tiers.h"

using namespace onesearch;
using namespace onesearch::testing;

namespace {

struct Sizes {
  int64_t beams;
  int64_t group;
  int64_t head_dim;
  int64_t prompt;
  int64_t steps;
};

constexpr int64_t kBatch = 2;
constexpr int64_t kKvHeads = 2;

template <class T>
struct Attention {
  Tensor<T> query;
  Tensor<T> context_key;
  Tensor<T> context_value;
  Tensor<int32_t> context_length{kBatch};
  Tensor<T> own_key;
  Tensor<T> own_value;
  Tensor<int32_t> ancestry;
  Tensor<T> out;

  explicit Attention(const Sizes& s)
      : query{kBatch, s.beams, kKvHeads * s.group, s.head_dim},
        context_key{kBatch, kKvHeads, s.prompt, s.head_dim},
        context_value{kBatch, kKvHeads, s.prompt, s.head_dim},
        own_key{kBatch, s.steps, s.beams, kKvHeads, s.head_dim},
        own_value{kBatch, s.steps, s.beams, kKvHeads, s.head_dim},
        ancestry{kBatch, s.beams, s.steps},
        out{kBatch, s.beams, kKvHeads * s.group * s.head_dim} {
    std::mt19937 random(static_cast<unsigned>(s.beams + s.prompt));
    std::normal_distribution<float> normal;
    for (auto* tensor : {&query, &context_key, &context_value, &own_key, &own_value}) {
      for (T& value : tensor->values) from_float(normal(random), &value);
    }
    context_length.values = {static_cast<int32_t>(s.prompt / 2), static_cast<int32_t>(s.prompt)};
    for (int32_t& beam : ancestry.values) beam = static_cast<int32_t>(random() % s.beams);
  }

  BeamAttentionInput input() const {
    return {query.view,
            {&context_key.view, &context_value.view, &context_length.view},
            {&own_key.view, &own_value.view, &ancestry.view},
            0.25f};
  }

  // Scores and weights of one query, then element i of what it mixes.
  double expected(int64_t b, int64_t w, int64_t h, int64_t i) const {
    const int64_t head_dim = query.view.shape[3];
    const int64_t g = h / (query.view.shape[2] / kKvHeads);
    double total = 0.0;
    double mixed = 0.0;
    const auto see = [&](const T* key, const T* value) {
      double score = 0.0;
      for (int64_t d = 0; d < head_dim; ++d) {
        score += static_cast<double>(to_float(query.at({b, w, h, d}))) * to_float(key[d]);
      }
      const double weight = std::exp(0.25 * score);
      total += weight;
      mixed += weight * to_float(value[i]);
    };
    for (int64_t k = 0; k < context_length.values[static_cast<size_t>(b)]; ++k) {
      see(&context_key.at({b, g, k, 0}), &context_value.at({b, g, k, 0}));
    }
    for (int64_t step = 0; step < own_key.view.shape[1]; ++step) {
      const int64_t beam = ancestry.at({b, w, step});
      see(&own_key.at({b, step, beam, g, 0}), &own_value.at({b, step, beam, g, 0}));
    }
    return total == 0.0 ? 0.0 : mixed / total;
  }

  void check(double tolerance) const {
    for (int64_t b = 0; b < kBatch; ++b) {
      for (int64_t w = 0; w < query.view.shape[1]; ++w) {
        for (int64_t h = 0; h < query.view.shape[2]; ++h) {
          const int64_t head_dim = query.view.shape[3];
          for (int64_t i = 0; i < head_dim; i += 5) {
            const double got = to_float(out.at({b, w, h * head_dim + i}));
            CHECK(std::abs(got - expected(b, w, h, i)) <= tolerance);
          }
        }
      }
    }
  }
};

template <class T>
void run(const Sizes& sizes, double tolerance) {
  Attention<T> attention(sizes);
  beam_attention(attention.input(), attention.out.view);
  attention.check(tolerance);
}

}  // namespace

TEST(every_type_on_every_tier_equals_plain_sums) {
  const Sizes shapes[] = {{1, 1, 8, 1, 1},   {3, 2, 16, 5, 2},    {9, 2, 24, 131, 0},
                          {21, 3, 40, 7, 3}, {70, 1, 32, 129, 1}, {5, 2, 12, 9, 2},
                          {3, 1, 1, 4, 1}};
  const IsaTier before = isa_tier();
  for (const IsaTier tier : usable_tiers()) {
    set_isa_tier(tier);
    for (const Sizes& sizes : shapes) {
      run<float>(sizes, 2e-5);
      run<Float16>(sizes, 2e-3);
      run<BFloat16>(sizes, 2e-2);
    }
  }
  set_isa_tier(before);
}

TEST(threads_share_a_call_without_changing_it) {
  const Sizes sizes{90, 2, 64, 200, 2};
  Attention<float> alone(sizes);
  Attention<float> shared(sizes);
  const int before = num_threads();
  set_num_threads(1);
  beam_attention(alone.input(), alone.out.view);
  set_num_threads(4);
  beam_attention(shared.input(), shared.out.view);
  set_num_threads(before);
  CHECK(alone.out.values == shared.out.values);
}

TEST(indices_that_lead_outside_are_refused) {
  Attention<float> attention({4, 1, 8, 6, 2});
  const auto attend = [&] { beam_attention(attention.input(), attention.out.view); };
  attention.ancestry.values[3] = 4;
  CHECK_THROWS(InvalidArgument, "ancestry: expected 0 to own_beam - 1 = 3, got 4", attend());
  attention.ancestry.values[3] = 0;
  attention.context_length.values[1] = 7;
  CHECK_THROWS(InvalidArgument, "context_length: expected 0 to prompt = 6, got 7", attend());
  attention.context_length.values[1] = 6;
  attention.out.view.read_only = true;
  CHECK_THROWS(InvalidArgument, "out: expected writable memory", attend());
}
