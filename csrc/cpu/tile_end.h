// What the tile of a product ends in, in memory.
#pragma once

#include <cstdint>

namespace onesearch {

// The numbers are those that the Python side passes.
enum class Activation : int {
  kNone = 0,
  kRelu = 1,
  kSilu = 2,
  kGelu = 3,       // by erf
  kGeluTanh = 4,   // by tanh
  kQuickGelu = 5,  // x / (1 + exp(-1.702 x))
};

// From the tile's first row and output on.
struct TileEnd {
  const void* bias;  // or null
  Activation activation;
  const void* other;  // added or factor, or null
  bool multiply;      // other is a factor
  void* out;
  int64_t other_stride;  // elements from row to row
  int64_t out_stride;
};

}  // namespace onesearch
