#include "cpu/attention.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <new>
#include <string>

#include "cpu/amx.h"
#include "cpu/cpuid.h"
#include "cpu/thread_pool.h"

namespace onesearch {
namespace {

constexpr int64_t kMaxHeadDim = 512;
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
  static const bool present = cpu_has({"avx512_bf16"});
  return present && isa_tier() == IsaTier::kAvx512;
#else
  return false;
#endif
}

AttendTile kernel(DType dtype) {
#if defined(__x86_64__)
  if (dtype == DType::kBFloat16 && has_bf16_products()) {
    return amx_bf16_usable() ? amx_bf16::attend_bfloat16 : avx512_bf16::attend_bfloat16;
  }
#endif
  return attention_kernels().of(dtype);
}

// A tile but for its keys and values.
AttentionTile tile_of(const AttentionQueries& queries, int64_t request, int64_t kv_head,
                      int64_t first_row) {
  const AttentionSizes& s = queries.sizes;
  AttentionTile tile;
  tile.head_dim = s.head_dim;
  tile.num_steps = s.num_steps;
  tile.scale = queries.scale;
  tile.rows = static_cast<int>(std::min<int64_t>(kTileRows, s.rows() - first_row));
  for (int i = 0; i < tile.rows; ++i) {
    const int64_t token = (first_row + i) / s.group();
    const int64_t head = kv_head * s.group() + (first_row + i) % s.group();
    tile.query[i] = queries.query.element({request, token, head});
    tile.out[i] = queries.out.element({request, token, head * s.head_dim});
  }
  return tile;
}

}  // namespace

const char* bfloat16_attention() {
  if (!has_bf16_products()) return isa_tier_name(isa_tier());
  return amx_bf16_usable() ? "amx_bf16" : "avx512_bf16";
}

void AttentionCheck::query(const TensorView& query) const {
  floats(query, "query", 4);
  contiguous_rows(query, "query");
  const int64_t head_dim = query.shape[3];
  if (head_dim < 1 || head_dim > kMaxHeadDim) {
    refuse("query", "head_dim from 1 to 512", std::to_string(head_dim));
  }
}

float AttentionCheck::scale(std::optional<float> given, int64_t head_dim) const {
  if (!given) return static_cast<float>(std::pow(static_cast<double>(head_dim), -0.5));
  if (!(std::isfinite(*given) && *given > 0.0f)) {
    refuse("scale", "a finite number above 0", std::to_string(*given));
  }
  return *given;
}

void AttentionCheck::heads(const AttentionSizes& s) const {
  if (s.kv_heads >= 1 && s.heads >= 1 && s.heads % s.kv_heads == 0) return;
  refuse("query", "a multiple of kv_head = " + std::to_string(s.kv_heads) + " as heads",
         std::to_string(s.heads));
}

void AttentionCheck::context(const TensorView& tensor, const char* argument, DType dtype,
                             const AttentionSizes& s) const {
  this->tensor(tensor, argument, dtype,
               {{"batch", s.batch},
                {"kv_head", s.kv_heads},
                {"prompt", s.num_keys},
                {"head_dim", s.head_dim}});
  contiguous_rows(tensor, argument);
}

void AttentionCheck::out(const TensorView& out, DType dtype, const AttentionSizes& s) const {
  tensor(out, "out", dtype,
         {{"batch", s.batch}, {token_axis_, s.tokens}, {"head * head_dim", s.heads * s.head_dim}});
  contiguous_rows(out, "out");
  writable(out, "out");
}

void attend(const AttentionQueries& queries, const DescribeKeys& describe_keys) {
  const AttentionSizes& s = queries.sizes;
  const AttendTile attend_tile = kernel(queries.query.dtype);
  const int64_t tiles = (s.rows() + kTileRows - 1) / kTileRows;  // of a kv head
  const int64_t products = 2 * kTileRows * s.head_dim * (s.num_keys + s.num_steps);
  const int64_t grain = grain_of(kWorkPerTask, products);
  parallel_for(s.batch * s.kv_heads * tiles, grain, [&](int64_t begin, int64_t end) {
    float* memory = workspace(attention_workspace(s.head_dim, s.num_steps));
    for (int64_t number = begin; number < end; ++number) {
      const int64_t request = number / tiles / s.kv_heads;
      const int64_t kv_head = number / tiles % s.kv_heads;
      const int64_t first_row = number % tiles * kTileRows;
      AttentionTile tile = tile_of(queries, request, kv_head, first_row);
      describe_keys(request, kv_head, first_row, &tile);
      attend_tile(tile, memory);
    }
  });
}

}  // namespace onesearch
