// The tiles of AMX: eight registers of up to 16 rows of 64 bytes. For *_amx_bf16.cc only.
//
//     configure(shapes)         rows, and bytes of a row, of each tile
//     zero<T>()                 tile T
//     load<T>(from, stride)     tile T, its rows `stride` bytes apart
//     store<T>(to, stride)
//     multiply_add<S, A, B>()   S[m][n] += sum over k of A[m][2k] B[k][2n] + A[m][2k+1] B[k][2n+1],
//                               A and B of bfloat16, S of float32
//     release()                 no tile holds anything that a change of context must save
//
// With ONESEARCH_AMX_EMULATED they are computed in plain C++, roundings and limits included, so
// tests need no processor that has them. amx_tile_test compares the two where there is one; Bochs
// agrees but for a defect of its own (docs/design.md), a processor has yet to be asked.
#pragma once

#include <type_traits>

#include "cpu/simd.h"

namespace onesearch::ONESEARCH_TIER::amx {

constexpr int kTiles = 8;
constexpr int kRows = 16;
constexpr int kRowBytes = 64;

// As LDTILECFG reads it.
struct alignas(64) TileShapes {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};

  ONESEARCH_INLINE void set(int tile, int64_t num_rows, int64_t words) {
    rows[tile] = static_cast<uint8_t>(num_rows);
    row_bytes[tile] = static_cast<uint16_t>(words * 4);
  }
};
static_assert(sizeof(TileShapes) == 64);

// No product reads the tile that it adds to, or one tile twice: a processor faults.
template <int S, int A, int B>
using IfDistinct = std::enable_if_t<S != A && S != B && A != B>;

#if !defined(ONESEARCH_AMX_EMULATED)

ONESEARCH_INLINE void configure(const TileShapes& shapes) {
  __asm__ volatile("ldtilecfg %0" : : "m"(shapes));
}

ONESEARCH_INLINE void release() { __asm__ volatile("tilerelease"); }

template <int T>
ONESEARCH_INLINE void zero() {
  __asm__ volatile("tilezero %%tmm%c0" : : "i"(T));
}

template <int T>
ONESEARCH_INLINE void load(const void* from, int64_t stride) {
  __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(T) : "memory");
}

template <int T>
ONESEARCH_INLINE void store(void* to, int64_t stride) {
  __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride), "i"(T) : "memory");
}

template <int S, int A, int B, class = IfDistinct<S, A, B>>
ONESEARCH_INLINE void multiply_add() {
  __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(S), "i"(A), "i"(B));
}

#else

struct State {
  TileShapes shapes;
  unsigned char rows[kTiles][kRows][kRowBytes];
};
inline thread_local State state;

inline void require(bool allowed) {
  if (!allowed) __builtin_trap();  // a processor faults
}

inline void release() { state = {}; }

inline void require_sizes(int tile, int rows, int row_bytes) {
  require((rows == 0) == (row_bytes == 0));
  require(rows <= (tile < kTiles ? kRows : 0) && row_bytes <= kRowBytes);
}

inline void configure(const TileShapes& shapes) {
  if (shapes.palette == 0) return release();
  require(shapes.palette == 1);
  require(shapes.start_row == 0);  // a processor goes on at that row; here nothing stops half-way
  for (const uint8_t byte : shapes.reserved) require(byte == 0);
  for (int tile = 0; tile < 16; ++tile) {
    require_sizes(tile, shapes.rows[tile], shapes.row_bytes[tile]);
  }
  state = {shapes, {}};
}

inline void require_whole_words(int tile) {
  require(state.shapes.rows[tile] > 0 && state.shapes.row_bytes[tile] % 4 == 0);
}

template <int T>
void zero() {
  require(state.shapes.rows[T] > 0);
  __builtin_memset(state.rows[T], 0, sizeof state.rows[T]);
}

template <int T>
void load(const void* from, int64_t stride) {
  require_whole_words(T);
  zero<T>();
  for (int row = 0; row < state.shapes.rows[T]; ++row) {
    const auto* at = static_cast<const unsigned char*>(from) + row * stride;
    __builtin_memcpy(state.rows[T][row], at, state.shapes.row_bytes[T]);
  }
}

template <int T>
void store(void* to, int64_t stride) {
  require_whole_words(T);
  for (int row = 0; row < state.shapes.rows[T]; ++row) {
    auto* at = static_cast<unsigned char*>(to) + row * stride;
    __builtin_memcpy(at, state.rows[T][row], state.shapes.row_bytes[T]);
  }
}

// Subnormal operands and results count as zeros.
inline float flushed(float x) {
  return __builtin_fabsf(x) < 0x1p-126f ? __builtin_copysignf(0.0f, x) : x;
}

inline float half_of_word(const unsigned char* row, int index) {
  unsigned char bytes[4] = {0, 0, row[2 * index], row[2 * index + 1]};
  float value;
  __builtin_memcpy(&value, bytes, sizeof value);
  return flushed(value);
}

template <int S, int A, int B, class = IfDistinct<S, A, B>>
void multiply_add() {
  const TileShapes& shapes = state.shapes;
  const int words = shapes.row_bytes[A] / 4;
  require(shapes.row_bytes[A] % 4 == 0 && shapes.row_bytes[B] % 4 == 0);
  require(shapes.rows[S] == shapes.rows[A] && shapes.row_bytes[S] == shapes.row_bytes[B] &&
          shapes.rows[B] == words && words > 0);
  for (int m = 0; m < shapes.rows[S]; ++m) {
    for (int n = 0; n < shapes.row_bytes[S] / 4; ++n) {
      float pair[2] = {0.0f, 0.0f};
      for (int k = 0; k < 2 * words; ++k) {
        const float a = half_of_word(state.rows[A][m], k);
        const float b = half_of_word(state.rows[B][k / 2], 2 * n + k % 2);
        pair[k % 2] = flushed(__builtin_fmaf(a, b, pair[k % 2]));
      }
      float sum;
      __builtin_memcpy(&sum, state.rows[S][m] + n * 4, sizeof sum);
      sum = flushed(flushed(sum) + flushed(pair[0] + pair[1]));
      __builtin_memcpy(state.rows[S][m] + n * 4, &sum, sizeof sum);
    }
  }
}

#endif

}  // namespace onesearch::ONESEARCH_TIER::amx
