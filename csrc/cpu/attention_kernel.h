// The kernel of attention, written once for all tiers and kinds of products. For *_simd.cc,
// *_avx512_bf16.cc and *_amx_bf16.cc only.
//
// Queries, scores and results of a tile are held transposed, kTileRows to a row, so a lane is a
// query: maxima and sums need no reduction across lanes, keys and values are broadcast from where
// they lie, and the bits of a query depend on nothing but itself, its keys and their number.
//
// A Product says how elements are multiplied:
//     Element                        what the tensors hold
//     kElements                      how many neighbours are multiplied at once: a word of 4 bytes
//     Unit                           what operands of words are made of and strided in
//     Lanes                          sixteen words: load(p), broadcast(p)
//     add(a, b, sum)                 sum + a b, a and b Lanes
//     transpose_query(tile, work)    fills work.query
//     keys(tile, first, n, work)     keys of a block as words along head_dim
//     values(tile, first, n, work)   values of a block as words along the keys
//     weigh(scores, n, ...)          scores of sixteen queries, in place, to weights along the keys
//     score<C>, mix<C>               products of a block: those of LaneProducts, or its own
#pragma once

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include "cpu/attention_tile.h"
#include "cpu/simd.h"

namespace onesearch::ONESEARCH_TIER {

// The memory of attention_workspace.
struct Workspace {
  float* query;    // [word][kTileRows] queries
  float* mixed;    // [head_dim][kTileRows] values summed so far
  float* rows;     // [kTileRows][head_dim] widened queries; at the end, what was mixed
  float* keys;     // [kKeyBlock][head_dim]
  float* values;   // [kKeyBlock][head_dim]
  float* scores;   // [kKeyBlock][kTileRows]
  float* maximum;  // [kTileRows] of the scaled scores so far
  float* total;    // [kTileRows] of the weights so far
  float* rescale;  // [kTileRows] what the context is multiplied by once own tokens are weighed
  float* own;      // [num_steps][kTileRows] scores, then weights

  ONESEARCH_INLINE Workspace(float* memory, int64_t head_dim)
      : query(memory),
        mixed(query + kTileRows * head_dim),
        rows(mixed + kTileRows * head_dim),
        keys(rows + kTileRows * head_dim),
        values(keys + kKeyBlock * head_dim),
        scores(values + kKeyBlock * head_dim),
        maximum(scores + kKeyBlock * kTileRows),
        total(maximum + kTileRows),
        rescale(total + kTileRows),
        own(rescale + kTileRows) {}
};

// A matrix of words: where it begins, and how far its rows and the steps of a product are apart.
template <class Unit>
struct Operand {
  const Unit* data;
  int64_t row;
  int64_t step;
};

// n is positive; past kLanes it counts as kLanes.
template <class T>
ONESEARCH_INLINE F32x16 load_some(const T* from, int64_t n) {
  return n >= kLanes ? F32x16::load(from) : F32x16::load_first(from, static_cast<int>(n), 0.0f);
}

template <class T>
ONESEARCH_INLINE void store_some(F32x16 v, T* to, int64_t n) {
  n >= kLanes ? v.store(to) : v.store_first(to, static_cast<int>(n));
}

// to[j][i] = from[i][j], a block of 4 x 4; 4-byte words of any kind.
ONESEARCH_INLINE void transpose4(const float* from0, const float* from1, const float* from2,
                                 const float* from3, float* to, int64_t to_stride) {
#if defined(__x86_64__)
  __m128 a = _mm_loadu_ps(from0);
  __m128 b = _mm_loadu_ps(from1);
  __m128 c = _mm_loadu_ps(from2);
  __m128 d = _mm_loadu_ps(from3);
  _MM_TRANSPOSE4_PS(a, b, c, d);
  _mm_storeu_ps(to, a);
  _mm_storeu_ps(to + to_stride, b);
  _mm_storeu_ps(to + 2 * to_stride, c);
  _mm_storeu_ps(to + 3 * to_stride, d);
#else
  const float* from[] = {from0, from1, from2, from3};
  for (int k = 0; k < 16; ++k) to[k / 4 * to_stride + k % 4] = from[k % 4][k / 4];
#endif
}

// Queries that are computed: the last vector is filled up with copies of the first query.
ONESEARCH_INLINE int64_t padded_rows(const AttentionTile& tile) {
  return (tile.rows + kLanes - 1) / kLanes * kLanes;
}

// Rows of `words` words, transposed into work.query.
inline void transpose_rows(const float* const* rows, int64_t words, const AttentionTile& tile,
                           const Workspace& work) {
  const auto row = [&](int64_t i) { return rows[i < tile.rows ? i : 0]; };
  for (int64_t i = 0; i < padded_rows(tile); i += 4) {
    const float* four[] = {row(i), row(i + 1), row(i + 2), row(i + 3)};
    for (int64_t j = 0; j < words; j += 4) {
      transpose4(four[0] + j, four[1] + j, four[2] + j, four[3] + j, work.query + j * kTileRows + i,
                 kTileRows);
    }
  }
}

// What was mixed, a row to a query.
inline void transpose_mixed(const AttentionTile& tile, const Workspace& work) {
  for (int64_t i = 0; i < tile.head_dim; i += 4) {
    const float* from = work.mixed + i * kTileRows;
    for (int64_t j = 0; j < padded_rows(tile); j += 4, from += 4) {
      transpose4(from, from + kTileRows, from + 2 * kTileRows, from + 3 * kTileRows,
                 work.rows + j * tile.head_dim + i, tile.head_dim);
    }
  }
}

// sum[r][c] += row r of left times column vector c of right, over all steps.
template <class Product, int R, int C>
ONESEARCH_INLINE void add_products(const Operand<typename Product::Unit>& left, const float* right,
                                   int64_t steps, F32x16 (&sum)[R][C]) {
  for (int64_t step = 0; step < steps; ++step) {
    typename Product::Lanes column[C];
    for (int c = 0; c < C; ++c) {
      column[c] = Product::load(right + step * kTileRows + c * kLanes);
    }
    for (int r = 0; r < R; ++r) {
      const auto row = Product::broadcast(left.data + r * left.row + step * left.step);
      for (int c = 0; c < C; ++c) sum[r][c] = Product::add(row, column[c], sum[r][c]);
    }
  }
}

// Scores of R keys and C vectors of queries; keeps their maximum.
template <class Product, int R, int C>
ONESEARCH_INLINE void score_keys(const Operand<typename Product::Unit>& keys, const float* query,
                                 int64_t words, float* scores, F32x16 (&best)[C]) {
  F32x16 sum[R][C];
  for (auto& row : sum) {
    for (F32x16& lanes : row) lanes = F32x16::zero();
  }
  add_products<Product, R, C>(keys, query, words, sum);
  for (int r = 0; r < R; ++r) {
    for (int c = 0; c < C; ++c) {
      best[c] = max(sum[r][c], best[c]);
      sum[r][c].store(scores + r * kTileRows + c * kLanes);
    }
  }
}

// mixed = mixed * rescale + V^T weights, for R elements of head_dim and C vectors of queries.
template <class Product, int R, int C>
ONESEARCH_INLINE void mix_values(const Operand<typename Product::Unit>& values,
                                 const float* weights, int64_t words, const F32x16 (&rescale)[C],
                                 float* mixed) {
  F32x16 sum[R][C];
  for (int r = 0; r < R; ++r) {
    for (int c = 0; c < C; ++c) {
      sum[r][c] = F32x16::load(mixed + r * kTileRows + c * kLanes) * rescale[c];
    }
  }
  add_products<Product, R, C>(values, weights, words, sum);
  for (int r = 0; r < R; ++r) {
    for (int c = 0; c < C; ++c) sum[r][c].store(mixed + r * kTileRows + c * kLanes);
  }
}

// Turns n scores of sixteen queries into weights and enters them into the running softmax of the
// queries from `column` on; `best` is the maximum of the scores. Returns what all that was weighed
// before must be multiplied by.
template <class Product>
ONESEARCH_INLINE F32x16 take_scores(float* scores, int64_t n, F32x16 best,
                                    const AttentionTile& tile, const Workspace& work,
                                    int64_t column) {
  const F32x16 scale = F32x16::broadcast(tile.scale);
  const F32x16 before = F32x16::load(work.maximum + column);
  const F32x16 shift = max(best * scale, before);
  const F32x16 rescale = exp(before - shift);
  F32x16 total = F32x16::load(work.total + column) * rescale;
  Product::weigh(scores, n, scale, negate(shift), total);
  shift.store(work.maximum + column);
  total.store(work.total + column);
  return rescale;
}

// As many sums as registers hold, and at least as many as multiply-adds are under way at a time.
template <int C>
ONESEARCH_INLINE constexpr int rows_at_once() {
#if defined(ONESEARCH_TIER_avx512)
  return C <= 2 ? 8 : 4;
#elif defined(ONESEARCH_TIER_avx2)
  return 4;
#else
  return 2;
#endif
}

template <class Product>
struct KeyBlock {
  int64_t first;
  Operand<typename Product::Unit> keys;
  Operand<typename Product::Unit> values;
  int64_t num_keys;
};

template <class Product>
ONESEARCH_INLINE int64_t key_words(const KeyBlock<Product>& block) {
  return (block.num_keys + Product::kElements - 1) / Product::kElements;
}

// Takes the keys that come after a query out of its scores; returns the maximum of the others.
ONESEARCH_INLINE F32x16 hide_later_keys(const AttentionTile& tile, int64_t first, int64_t n,
                                        int64_t column, float* scores) {
  const F32x16 nothing = F32x16::broadcast(-__builtin_inff());
  const U32x16 visible = U32x16::load(tile.visible + column);
  F32x16 best = nothing;
  for (int64_t key = 0; key < n; ++key) {
    const Mask16 seen = U32x16::broadcast(static_cast<uint32_t>(first + key)) < visible;
    const F32x16 score = select(seen, F32x16::load(scores + key * kTileRows), nothing);
    best = max(score, best);
    score.store(scores + key * kTileRows);
  }
  return best;
}

// The products of a block with sums in registers of lanes; a Product may bring its own.
template <class Product>
struct LaneProducts {
  // Scores of a block's keys for C vectors of queries, and their maxima.
  template <int C>
  static ONESEARCH_INLINE void score(const KeyBlock<Product>& block, const float* query,
                                     int64_t head_dim, float* scores, F32x16 (&best)[C]) {
    constexpr int R = rows_at_once<C>();
    const int64_t n = block.num_keys;
    const int64_t words = head_dim / Product::kElements;
    auto keys = block.keys;
    int64_t key = 0;
    for (; key + R <= n; key += R, keys.data += R * keys.row) {
      score_keys<Product, R, C>(keys, query, words, scores + key * kTileRows, best);
    }
    for (; key < n; ++key, keys.data += keys.row) {
      score_keys<Product, 1, C>(keys, query, words, scores + key * kTileRows, best);
    }
  }

  // mixed = mixed * rescale + V^T weights.
  template <int C>
  static ONESEARCH_INLINE void mix(const KeyBlock<Product>& block, const float* weights,
                                   int64_t head_dim, const F32x16 (&rescale)[C], float* mixed) {
    constexpr int R = rows_at_once<C>();
    const int64_t words = key_words(block);
    auto values = block.values;
    for (int64_t i = 0; i < head_dim; i += R, values.data += R * values.row) {
      mix_values<Product, R, C>(values, weights, words, rescale, mixed + i * kTileRows);
    }
  }
};

// One block of keys for C vectors of queries from `column` on.
template <class Product, int C>
void attend_block(const KeyBlock<Product>& block, const AttentionTile& tile, const Workspace& work,
                  int64_t column) {
  const int64_t n = block.num_keys;
  float* scores = work.scores + column;
  F32x16 best[C];
  for (F32x16& lanes : best) lanes = F32x16::broadcast(-__builtin_inff());
  Product::template score<C>(block, work.query + column, tile.head_dim, scores, best);

  F32x16 rescale[C];
  const bool hides = tile.causal && block.first + n > tile.visible[0];
  for (int c = 0; c < C; ++c) {
    const int64_t at = column + c * kLanes;
    if (hides) best[c] = hide_later_keys(tile, block.first, n, at, work.scores + at);
    rescale[c] = take_scores<Product>(work.scores + at, n, best[c], tile, work, at);
  }
  Product::template mix<C>(block, scores, tile.head_dim, rescale, work.mixed + column);
}

template <class Product>
void attend_vectors(const KeyBlock<Product>& block, const AttentionTile& tile,
                    const Workspace& work) {
  const int64_t vectors = padded_rows(tile) / kLanes;
#if defined(ONESEARCH_TIER_avx512)
  if (vectors == 1) return attend_block<Product, 1>(block, tile, work, 0);
  if (vectors == 2) return attend_block<Product, 2>(block, tile, work, 0);
  if (vectors == 3) return attend_block<Product, 3>(block, tile, work, 0);
  return attend_block<Product, 4>(block, tile, work, 0);
#else
  for (int64_t at = 0; at < vectors; ++at) attend_block<Product, 1>(block, tile, work, at * kLanes);
#endif
}

template <class Product>
void attend_context(const AttentionTile& tile, const Workspace& work) {
  for (int64_t i = 0; i < kTileRows; ++i) {
    work.maximum[i] = -__builtin_inff();
    work.total[i] = 0.0f;
  }
  for (int64_t i = 0; i < kTileRows * tile.head_dim; ++i) work.mixed[i] = 0.0f;
  for (int64_t first = 0; first < tile.num_keys; first += kKeyBlock) {
    const int64_t rest = tile.num_keys - first;
    const int64_t n = rest < kKeyBlock ? rest : kKeyBlock;
    const KeyBlock<Product> block{first, Product::keys(tile, first, n, work),
                                  Product::values(tile, first, n, work), n};
    attend_vectors(block, tile, work);
  }
}

// Multiply-adds of float32; elements of half width are widened, a block at a time.
template <class T>
struct Float32Product : LaneProducts<Float32Product<T>> {
  using Element = T;
  using Unit = float;
  using Lanes = F32x16;
  static constexpr int64_t kElements = 1;

  static ONESEARCH_INLINE Lanes load(const float* from) { return F32x16::load(from); }
  static ONESEARCH_INLINE Lanes broadcast(const float* word) { return F32x16::broadcast(*word); }
  static ONESEARCH_INLINE F32x16 add(Lanes a, Lanes b, F32x16 sum) { return fma(a, b, sum); }

  static void transpose_query(const AttentionTile& tile, const Workspace& work) {
    const float* rows[kTileRows];
    for (int i = 0; i < tile.rows; ++i) {
      const T* query = static_cast<const T*>(tile.query[i]);
      rows[i] = widen(query, 0, 1, tile.head_dim, work.rows + i * tile.head_dim).data;
    }
    transpose_rows(rows, tile.head_dim, tile, work);
  }

  static ONESEARCH_INLINE Operand<float> keys(const AttentionTile& tile, int64_t first, int64_t n,
                                              const Workspace& work) {
    return widen(tile.key, first, n, tile.head_dim, work.keys);
  }

  static ONESEARCH_INLINE Operand<float> values(const AttentionTile& tile, int64_t first, int64_t n,
                                                const Workspace& work) {
    const Operand<float> rows = widen(tile.value, first, n, tile.head_dim, work.values);
    return {rows.data, rows.step, rows.row};
  }

  static void weigh(float* scores, int64_t n, F32x16 scale, F32x16 minus_shift, F32x16& total) {
    for (int64_t key = 0; key < n; ++key) {
      float* at = scores + key * kTileRows;
      const F32x16 weight = exp(fma(F32x16::load(at), scale, minus_shift));
      total = total + weight;
      weight.store(at);
    }
  }

 private:
  static ONESEARCH_INLINE Operand<float> widen(const ContextRows& rows, int64_t first, int64_t n,
                                               int64_t head_dim, float* to) {
    const T* from = static_cast<const T*>(rows.data) + first * rows.stride;
    return widen(from, rows.stride, n, head_dim, to);
  }
  static ONESEARCH_INLINE Operand<float> widen(const float* from, int64_t stride, int64_t, int64_t,
                                               float*) {
    return {from, stride, 1};
  }
  template <class Narrow>
  static ONESEARCH_INLINE Operand<float> widen(const Narrow* from, int64_t stride, int64_t n,
                                               int64_t head_dim, float* to) {
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < head_dim; j += kLanes) {
        store_some(load_some(from + i * stride + j, head_dim - j), to + i * head_dim + j,
                   head_dim - j);
      }
    }
    return {to, head_dim, 1};
  }
};

// Keys or values of one query's own past, by step.
template <class T>
ONESEARCH_INLINE const T* own_row(const OwnRows& rows, const AttentionTile& tile, int row,
                                  int64_t step) {
  const int64_t beam = tile.ancestry[row][step * tile.ancestry_stride];
  return static_cast<const T*>(rows.data) + step * rows.step_stride + beam * rows.beam_stride;
}

template <class T>
ONESEARCH_INLINE float dot(const T* a, const T* b, int64_t n) {
  F32x16 sum = F32x16::zero();
  for (int64_t i = 0; i < n; i += kLanes) {
    sum = fma(load_some(a + i, n - i), load_some(b + i, n - i), sum);
  }
  return reduce_add(sum);
}

// Asks for a row that is read soon.
template <class T>
ONESEARCH_INLINE void fetch(const T* row, int64_t n) {
  constexpr int64_t kLine = 64 / sizeof(T);
  for (int64_t i = 0; i < n; i += kLine) __builtin_prefetch(row + i);
}

// Weights of the own tokens, in work.own, and what they change about those of the context. Own rows
// lie outside the caches, where beams left them: asking for the keys of a later query and for all
// values here took a search's calls from 8.4 to 7.3 ms.
template <class T>
void weigh_own(const AttentionTile& tile, const Workspace& work) {
  constexpr int kAhead = 16;
  for (int row = 0; row < padded_rows(tile); ++row) {
    const int real = row < tile.rows ? row : 0;
    const int later = (row + kAhead) % tile.rows;
    const T* query = static_cast<const T*>(tile.query[real]);
    for (int64_t step = 0; step < tile.num_steps; ++step) {
      const T* key = own_row<T>(tile.own_key, tile, real, step);
      fetch(own_row<T>(tile.own_key, tile, later, step), tile.head_dim);
      fetch(own_row<T>(tile.own_value, tile, real, step), tile.head_dim);
      work.own[step * kTileRows + row] = dot(query, key, tile.head_dim);
    }
  }
  for (int64_t column = 0; column < padded_rows(tile); column += kLanes) {
    float* scores = work.own + column;
    F32x16 best = F32x16::broadcast(-__builtin_inff());
    for (int64_t step = 0; step < tile.num_steps; ++step) {
      best = max(F32x16::load(scores + step * kTileRows), best);
    }
    take_scores<Float32Product<T>>(scores, tile.num_steps, best, tile, work, column)
        .store(work.rescale + column);
  }
}

template <class T>
void finish_row(const AttentionTile& tile, const Workspace& work, int row) {
  const float* mixed = work.rows + row * tile.head_dim;
  // Without any key the sum is zero.
  const float inverse = work.total[row] == 0.0f ? 0.0f : 1.0f / work.total[row];
  const F32x16 rescale =
      F32x16::broadcast(tile.num_steps > 0 ? work.rescale[row] * inverse : inverse);
  for (int64_t i = 0; i < tile.head_dim; i += kLanes) {
    const int64_t n = tile.head_dim - i;
    F32x16 sum = load_some(mixed + i, n) * rescale;
    for (int64_t step = 0; step < tile.num_steps; ++step) {
      const F32x16 weight = F32x16::broadcast(work.own[step * kTileRows + row] * inverse);
      sum = fma(weight, load_some(own_row<T>(tile.own_value, tile, row, step) + i, n), sum);
    }
    store_some(sum, static_cast<T*>(tile.out[row]) + i, n);
  }
}

template <class Product>
void attend(const AttentionTile& tile, float* memory) {
  using T = typename Product::Element;
  const Workspace work(memory, tile.head_dim);
  Product::transpose_query(tile, work);
  attend_context<Product>(tile, work);
  transpose_mixed(tile, work);
  if (tile.num_steps > 0) weigh_own<T>(tile, work);
  for (int row = 0; row < tile.rows; ++row) finish_row<T>(tile, work, row);
}

}  // namespace onesearch::ONESEARCH_TIER
