#if defined(__AVX512BF16__)

#include "cpu/amx_tile.h"
#include "cpu/attention_bf16_product.h"

namespace onesearch::ONESEARCH_TIER {
namespace {

using amx::kRows;

// A step multiplies rows of up to sixteen words by as many words of sixteen queries.
constexpr int64_t kDepth = amx::kRowBytes / 4;
constexpr int64_t kStride = kTileRows * sizeof(float);  // of queries, scores, weights and sums

// Tiles 0 to 3 hold the sums of a group of rows, one for each vector of queries. Full steps go
// through one pair of tiles and what is left of the words through another: a tile's shape cannot
// change while others hold sums.
constexpr int kMostSums = 4;
constexpr int kLeft = 4;
constexpr int kRight = 5;
constexpr int kLeftRest = 6;
constexpr int kRightRest = 7;

void shape_tiles(int64_t rows, int64_t words) {
  amx::TileShapes shapes;
  for (int sum = 0; sum < kMostSums; ++sum) shapes.set(sum, rows, kLanes);
  shapes.set(kLeft, rows, kDepth);
  shapes.set(kRight, kDepth, kLanes);
  const int64_t rest = words % kDepth;
  if (rest > 0) shapes.set(kLeftRest, rows, rest);
  if (rest > 0) shapes.set(kRightRest, rest, kLanes);
  amx::configure(shapes);
}

// Begins the sums of tiles I to C - 1 at zero, or at what is in memory.
template <int C, bool kAdds, int I = 0>
ONESEARCH_INLINE void begin_sums(const float* sums) {
  if constexpr (I < C) {
    if constexpr (kAdds) {
      amx::load<I>(sums + I * kLanes, kStride);
    } else {
      amx::zero<I>();
    }
    begin_sums<C, kAdds, I + 1>(sums);
  }
}

template <int C, int I = 0>
ONESEARCH_INLINE void store_sums(float* sums) {
  if constexpr (I < C) {
    amx::store<I>(sums + I * kLanes, kStride);
    store_sums<C, I + 1>(sums);
  }
}

template <int C, int Left, int Right, int I = 0>
ONESEARCH_INLINE void add_step(const float* right) {
  if constexpr (I < C) {
    amx::load<Right>(right + I * kLanes, kStride);
    amx::multiply_add<I, Left, Right>();
    add_step<C, Left, Right, I + 1>(right);
  }
}

// sums = left right, or with kAdds sums + left right, for C vectors of queries.
template <int C, bool kAdds>
void multiply(const Operand<BFloat16>& left, int64_t num_rows, const float* right, int64_t words,
              float* sums) {
  const int64_t left_stride = left.row * static_cast<int64_t>(sizeof(BFloat16));
  for (int64_t first = 0; first < num_rows; first += kRows) {
    const int64_t rows = num_rows - first < kRows ? num_rows - first : kRows;
    if (first == 0 || rows < kRows) shape_tiles(rows, words);
    const BFloat16* from = left.data + first * left.row;
    float* to = sums + first * kTileRows;
    begin_sums<C, kAdds>(to);
    int64_t word = 0;
    for (; word + kDepth <= words; word += kDepth) {
      amx::load<kLeft>(from + word * left.step, left_stride);
      add_step<C, kLeft, kRight>(right + word * kTileRows);
    }
    if (word < words) {
      amx::load<kLeftRest>(from + word * left.step, left_stride);
      add_step<C, kLeftRest, kRightRest>(right + word * kTileRows);
    }
    store_sums<C>(to);
  }
}

// bfloat16 products by tiles: keys are read where they lie, the words of queries and weights are
// laid out as the right side of a tile product wants them.
struct AmxProduct : BFloat16Product {
  // Transposed, a row to an element of head_dim.
  static ONESEARCH_INLINE Operand<BFloat16> values(const AttentionTile& tile, int64_t first,
                                                   int64_t n, const Workspace& work) {
    constexpr int64_t kRowWords = kKeyBlock / kElements;
    BFloat16Product::values(tile, first, n, work);
    const int64_t head_dim = tile.head_dim;
    for (int64_t word = 0; word < (n + 1) / kElements; word += 4) {
      const float* from = work.values + word * head_dim;
      for (int64_t i = 0; i < head_dim; i += 4, from += 4) {
        transpose4(from, from + head_dim, from + 2 * head_dim, from + 3 * head_dim,
                   work.keys + i * kRowWords + word, kRowWords);
      }
    }
    return {reinterpret_cast<const BFloat16*>(work.keys), kKeyBlock, kElements};
  }

  template <int C>
  static ONESEARCH_INLINE void score(const KeyBlock<AmxProduct>& block, const float* query,
                                     int64_t head_dim, float* scores, F32x16 (&best)[C]) {
    multiply<C, false>(block.keys, block.num_keys, query, head_dim / kElements, scores);
    for (int64_t key = 0; key < block.num_keys; ++key) {
      for (int c = 0; c < C; ++c) {
        best[c] = max(F32x16::load(scores + key * kTileRows + c * kLanes), best[c]);
      }
    }
  }

  template <int C>
  static ONESEARCH_INLINE void mix(const KeyBlock<AmxProduct>& block, const float* weights,
                                   int64_t head_dim, const F32x16 (&rescale)[C], float* mixed) {
    for (int64_t i = 0; i < head_dim; ++i) {
      for (int c = 0; c < C; ++c) {
        float* at = mixed + i * kTileRows + c * kLanes;
        (F32x16::load(at) * rescale[c]).store(at);
      }
    }
    multiply<C, true>(block.values, head_dim, weights, key_words(block), mixed);
  }
};

void attend_tile(const AttentionTile& tile, float* memory) {
  attend<AmxProduct>(tile, memory);
  amx::release();
}

}  // namespace

extern const AttendTile attend_bfloat16 = &attend_tile;

}  // namespace onesearch::ONESEARCH_TIER

#endif
