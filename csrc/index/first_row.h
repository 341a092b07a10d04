// A search over rows by all threads.
#pragma once

#include <atomic>
#include <cstdint>

#include "cpu/thread_pool.h"

namespace onesearch {

// The first row in [0, n) for which matches(row), or n.
template <class Matches>
int64_t first_row_where(int64_t n, const Matches& matches) {
  constexpr int64_t kGrain = int64_t{1} << 16;
  std::atomic<int64_t> first{n};
  parallel_for(n, kGrain, [&](int64_t begin, int64_t end) {
    int64_t row = begin;
    while (row < end && !matches(row)) ++row;
    int64_t known = first;
    while (row < end && row < known && !first.compare_exchange_weak(known, row)) {
    }
  });
  return first;
}

}  // namespace onesearch
