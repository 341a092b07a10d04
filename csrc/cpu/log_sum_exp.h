// Maximum and sum of exponentials of a row, in float32. Sixteen partial results per row, combined
// in a fixed order: the same on every instruction set, and independent of anything but the row.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace onesearch {

struct RowMaximum {
  float value;    // -inf for an empty row
  bool poisoned;  // the row holds NaN or +inf
};

// T is float, BFloat16 or Float16; `row` is contiguous.
template <class T>
RowMaximum row_maximum(const T* row, int64_t n);

// Sum of exp(row[i] - maximum) for a finite maximum of a row that is not poisoned.
template <class T>
float sum_of_exp(const T* row, int64_t n, float maximum);

}  // namespace onesearch
