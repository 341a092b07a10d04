#include "cpu/simd.h"
#include "ops/sid_embedding_bag/row_kernels.h"

namespace onesearch::ONESEARCH_TIER {
namespace {

// Sums in registers: enough of them that no addition waits for the one before it.
#if defined(ONESEARCH_TIER_avx512)
constexpr int kVectors = 8;
#else
constexpr int kVectors = 4;
#endif
// Terms, and rows of a tile, ahead of which memory is asked for: the processor foresees neither.
constexpr int64_t kTermsAhead = 3;
constexpr int64_t kRowsAhead = 24;

template <class Row>
constexpr int kVectorsPerLine = 64 / (kLanes * static_cast<int>(sizeof(Row)));

ONESEARCH_INLINE int64_t min(int64_t a, int64_t b) { return a < b ? a : b; }

ONESEARCH_INLINE const uint8_t* octets(const int8_t* row) {
  return reinterpret_cast<const uint8_t*>(row);
}

// Octets whose sign bit is flipped are -128..127 raised by 128.
ONESEARCH_INLINE F32x16 widen(U32x16 octets) {
  const U32x16 raised = octets ^ U32x16::broadcast(0x80);
  return to_f32(raised + U32x16::broadcast(static_cast<uint32_t>(-128)));
}

// The first n elements; no other memory is touched.
template <class Row>
ONESEARCH_INLINE F32x16 load(const Row* row, int n) {
  return n == kLanes ? F32x16::load(row) : F32x16::load_first(row, n, 0.0f);
}
ONESEARCH_INLINE F32x16 load(const int8_t* row, int n) {
  return widen(n == kLanes ? U32x16::load(octets(row)) : U32x16::load_first(octets(row), n));
}

ONESEARCH_INLINE void store_first(F32x16 v, float* to, int n) {
  if (n == kLanes) return v.store(to);
  v.store_first(to, n);
}

// What a term adds; without weights and scales no product rounds, and none is taken.
template <bool kWeighted>
struct Factors {
  F32x16 weight;
  F32x16 scale;

  ONESEARCH_INLINE Factors(const Columns& table, const Lists& lists, int64_t term) {
    if (!kWeighted) return;
    weight = F32x16::broadcast(lists.weights == nullptr ? 1.0f : lists.weights[term]);
    const uint32_t row = lists.index[term];
    scale = F32x16::broadcast(table.scales == nullptr ? 1.0f : table.scales[row]);
  }
  ONESEARCH_INLINE F32x16 add(F32x16 row, F32x16 sum) const {
    return kWeighted ? fma(row * scale, weight, sum) : sum + row;
  }
};

// kCount vectors of columns from `at` of one list, the last of them `last` lanes wide.
template <class Row, bool kWeighted, bool kFar, int kCount>
ONESEARCH_INLINE void gather_columns(const Columns& table, const Lists& lists, int64_t list,
                                     int64_t at, int last, bool fresh, float* sums) {
  const Row* columns = static_cast<const Row*>(table.data) + at;
  const int64_t end = lists.begin[list + 1], final = lists.num_terms - 1;
  F32x16 sum[kCount];
  for (int v = 0; v < kCount; ++v) {
    const int lanes = v + 1 < kCount ? kLanes : last;
    sum[v] = fresh ? F32x16::zero() : load(sums + v * kLanes, lanes);
  }
  for (int64_t term = lists.begin[list]; term < end; ++term) {
    if (kFar) {
      const Row* ahead = columns + lists.index[min(term + kTermsAhead, final)] * table.stride;
      for (int v = 0; v < kCount; v += kVectorsPerLine<Row>) __builtin_prefetch(ahead + v * kLanes);
    }
    const Row* row = columns + lists.index[term] * table.stride;
    const Factors<kWeighted> factors(table, lists, term);
    for (int v = 0; v < kCount; ++v) {
      sum[v] = factors.add(load(row + v * kLanes, v + 1 < kCount ? kLanes : last), sum[v]);
    }
  }
  for (int v = 0; v < kCount; ++v) {
    store_first(sum[v], sums + v * kLanes, v + 1 < kCount ? kLanes : last);
  }
}

template <class Row, bool kWeighted, bool kFar>
ONESEARCH_INLINE void gather_lists(const Columns& table, const Lists& lists, const Sums& sums) {
  for (int64_t list = 0; list < lists.count; ++list) {
    if (lists.begin[list] == lists.begin[list + 1] && !sums.fresh) continue;
    float* to = sums.data + list * sums.stride;
    int64_t at = 0;
    for (; at + kVectors * kLanes <= table.width; at += kVectors * kLanes) {
      gather_columns<Row, kWeighted, kFar, kVectors>(table, lists, list, at, kLanes, sums.fresh,
                                                     to + at);
    }
    for (; at < table.width; at += kLanes) {
      const int last = static_cast<int>(min(table.width - at, kLanes));
      gather_columns<Row, kWeighted, kFar, 1>(table, lists, list, at, last, sums.fresh, to + at);
    }
  }
}

template <class Row, bool kWeighted>
ONESEARCH_INLINE void gather_near_or_far(const Columns& table, const Lists& lists,
                                         const Sums& sums) {
  // Asking for what is near takes as long as reading it.
  if (table.near) {
    gather_lists<Row, kWeighted, false>(table, lists, sums);
  } else {
    gather_lists<Row, kWeighted, true>(table, lists, sums);
  }
}

template <class Row>
void gather(const Columns& table, const Lists& lists, const Sums& sums) {
  if (lists.weights == nullptr && table.scales == nullptr) {
    gather_near_or_far<Row, false>(table, lists, sums);
  } else {
    gather_near_or_far<Row, true>(table, lists, sums);
  }
}

template <class Row>
void pack(const Columns& table, int64_t first, int64_t num_rows, float* tile) {
  const Row* from = static_cast<const Row*>(table.data) + first * table.stride;
  for (int64_t i = 0; i < num_rows; ++i, from += table.stride, tile += table.width) {
    const Row* ahead = from + kRowsAhead * table.stride;  // past the tile lies the next one
    const F32x16 scale =
        F32x16::broadcast(table.scales == nullptr ? 1.0f : table.scales[first + i]);
    for (int64_t at = 0; at < table.width; at += kLanes) {
      if (at * sizeof(Row) % 64 == 0) __builtin_prefetch(ahead + at);
      const int lanes = static_cast<int>(min(table.width - at, kLanes));
      store_first(load(from + at, lanes) * scale, tile + at, lanes);
    }
  }
}

template <class Out>
void store(const float* sums, float scale, int64_t width, void* out) {
  Out* to = static_cast<Out*>(out);
  const F32x16 factor = F32x16::broadcast(scale);
  int64_t at = 0;
  for (; at + kLanes <= width; at += kLanes) (F32x16::load(sums + at) * factor).store(to + at);
  if (at == width) return;
  // Apart: stores under a mask are slow even where the mask is full.
  const int lanes = static_cast<int>(width - at);
  (load(sums + at, lanes) * factor).store_first(to + at, lanes);
}

}  // namespace

extern const RowKernels row_kernels{
    {{&gather<float>, &gather<BFloat16>, &gather<Float16>}, &gather<int8_t>},
    {{&pack<float>, &pack<BFloat16>, &pack<Float16>}, &pack<int8_t>},
    {&store<float>, &store<BFloat16>, &store<Float16>}};

}  // namespace onesearch::ONESEARCH_TIER
