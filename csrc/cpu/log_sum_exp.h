// Maximum and sum of exponentials of a row, in float32: what a log-sum-exp is made of. Sixteen
// partial results per row, combined in one order: independent of anything but the row, and the same
// bits on AVX2 and AVX-512.
#pragma once

#include <cstdint>

#include "core/dtype.h"
#include "cpu/isa.h"

namespace onesearch {

struct RowMaximum {
  float value;    // -inf for an empty row
  bool poisoned;  // the row holds NaN or +inf
};

template <class T>
struct RowKernels {
  RowMaximum (*maximum)(const T* row, int64_t n);
  float (*sum_of_exp)(const T* row, int64_t n, float maximum, const T* next);
};

struct LogSumExpKernels {
  RowKernels<float> f32;
  RowKernels<BFloat16> bf16;
  RowKernels<Float16> f16;

  const RowKernels<float>& of(const float*) const { return f32; }
  const RowKernels<BFloat16>& of(const BFloat16*) const { return bf16; }
  const RowKernels<Float16>& of(const Float16*) const { return f16; }
};

ONESEARCH_TIER_TABLE(LogSumExpKernels, log_sum_exp_kernels)

// T is float, BFloat16 or Float16; `row` is contiguous.
template <class T>
RowMaximum row_maximum(const T* row, int64_t n) {
  return log_sum_exp_kernels().of(row).maximum(row, n);
}

// Sum of exp(row[i] - maximum) for the finite maximum of a row that is not poisoned: at least 1.
// `next`, where given, is the row of n that will be read after this one; it is fetched meanwhile,
// which hides main memory.
template <class T>
float sum_of_exp(const T* row, int64_t n, float maximum, const T* next = nullptr) {
  const T* soon = next == nullptr ? row : next;
  return log_sum_exp_kernels().of(row).sum_of_exp(row, n, maximum, soon);
}

}  // namespace onesearch
