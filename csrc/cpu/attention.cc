#include "cpu/attention.h"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "cpu/cpuid.h"
#include "cpu/thread_pool.h"

namespace onesearch {
namespace {

// Multiply-adds that make a task worth handing to another thread: some 10 us.
constexpr int64_t kWorkPerTask = 1 << 20;

// Memory of a thread, kept from call to call: new memory of this size is mapped anew each time.
float* workspace(int64_t floats) {
  constexpr size_t kAlignment = 64;
  struct Free {
    void operator()(float* memory) const { std::free(memory); }
  };
  thread_local std::unique_ptr<float, Free> memory;
  thread_local int64_t size = 0;
  if (size < floats) {
    const size_t bytes = (floats * sizeof(float) + kAlignment - 1) / kAlignment * kAlignment;
    memory.reset(static_cast<float*>(std::aligned_alloc(kAlignment, bytes)));
    size = memory == nullptr ? 0 : floats;
    if (memory == nullptr) throw std::bad_alloc();
  }
  return memory.get();
}

bool has_bf16_products() {
#if defined(__x86_64__)
  static const bool present = [] {
    const std::vector<std::string> features = cpu_features();
    return std::find(features.begin(), features.end(), "avx512_bf16") != features.end();
  }();
  return present && isa_tier() == IsaTier::kAvx512;
#else
  return false;
#endif
}

AttendTile kernel(DType dtype) {
#if defined(__x86_64__)
  if (dtype == DType::kBFloat16 && has_bf16_products()) return avx512_bf16::attend_bfloat16;
#endif
  const AttentionKernels& kernels = attention_kernels();
  if (dtype == DType::kBFloat16) return kernels.bfloat16;
  return dtype == DType::kFloat16 ? kernels.float16 : kernels.float32;
}

}  // namespace

void attend_tiles(const AttentionWork& work, const DescribeTile& describe) {
  const AttendTile attend = kernel(work.dtype);
  const int64_t products = 2 * kTileRows * work.head_dim * (work.num_keys + work.num_steps);
  const int64_t grain = std::max<int64_t>(1, kWorkPerTask / std::max<int64_t>(1, products));
  parallel_for(work.num_tiles, grain, [&](int64_t begin, int64_t end) {
    float* memory = workspace(attention_workspace(work.head_dim, work.num_steps));
    for (int64_t number = begin; number < end; ++number) {
      AttentionTile tile;
      tile.head_dim = work.head_dim;
      tile.num_steps = work.num_steps;
      describe(number, &tile);
      attend(tile, memory);
    }
  });
}

}  // namespace onesearch
