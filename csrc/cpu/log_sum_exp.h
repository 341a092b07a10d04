// Maximum and log-sum-exp of a row, in float32. Sixteen partial results per row, combined in one
// order: independent of anything but the row, and the same bits on AVX2 and AVX-512.
#pragma once

#include <cstdint>

#include "core/dtype.h"
#include "cpu/isa.h"

namespace onesearch {

struct RowMaximum {
  float value;    // -inf for an empty row
  bool poisoned;  // the row holds NaN or +inf
};

// log2(e), as rows are multiplied by it.
constexpr float kOctaves = 1.44269504f;

// Logits of a greater magnitude are no numbers to sum: the logarithm of any number of terms is lost
// beside them.
constexpr float kHuge = 1099511627776.0f;  // 2^40

struct RowSum {
  float sum;      // of 2^(kOctaves row[i] - power), no term below 2^-125; NaN with a NaN
  float maximum;  // of the row but for NaN
  float power;
};

template <class T>
struct RowKernels {
  RowMaximum (*maximum)(const T* row, int64_t n);
  RowSum (*sum_of_exp2)(const T* row, int64_t n, float power);
  // With a power that the row's first few make, 0 where they are huge; fetches `next` [n].
  RowSum (*first_sum_of_exp2)(const T* row, int64_t n, const T* next);
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

struct LogSumExp {
  float value;    // at least the maximum; -inf for a row of -inf; no meaning for a poisoned row
  float maximum;  // -inf for an empty row
  bool poisoned;  // the row holds NaN or +inf
};

// T is float, BFloat16 or Float16; `row` is contiguous.
template <class T>
RowMaximum row_maximum(const T* row, int64_t n) {
  return log_sum_exp_kernels().of(row).maximum(row, n);
}

// Reads the row once, mostly. `next`, where given, is the row of n that will be read after this
// one: it is fetched meanwhile, which hides main memory.
template <class T>
LogSumExp log_sum_exp(const T* row, int64_t n, const T* next = nullptr);

}  // namespace onesearch
