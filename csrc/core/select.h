// Select inside a word, host and device.
#pragma once

#include <cstdint>

#include "core/portable.h"

#if defined(__AVX512F__) && !defined(__CUDACC__)
#include <immintrin.h>
#endif

namespace onesearch {

// Index of the set bit that has `skip` set bits below it; skip < popcount(word).
ONESEARCH_HD int select_bit(uint64_t word, uint32_t skip) {
#if defined(__AVX512F__) && !defined(__CUDACC__)
  // Deposits one bit at the place sought. Only where AVX-512 is: processors with slow (microcoded)
  // deposits have none.
  return lowest_bit(_pdep_u64(uint64_t{1} << skip, word));
#else
  constexpr uint64_t kOnes = 0x0101010101010101u;
  constexpr uint64_t kHigh = 0x8080808080808080u;
  uint64_t sums = word - ((word >> 1) & 0x5555555555555555u);
  sums = (sums & 0x3333333333333333u) + ((sums >> 2) & 0x3333333333333333u);
  sums = ((sums + (sums >> 4)) & 0x0f0f0f0f0f0f0f0fu) * kOnes;  // byte i: set bits of bytes 0 to i
  // High bit of byte i: its sum is at most `skip`, so the bit sought lies above it.
  const uint64_t passed = (((skip * kOnes) | kHigh) - sums) & kHigh;
  const int shift = static_cast<int>(((passed >> 7) * kOnes) >> 56) * 8;
  uint64_t rest = word >> shift;
  for (uint32_t left = skip - static_cast<uint32_t>(((sums << 8) >> shift) & 0xff); left > 0;
       --left) {
    rest &= rest - 1;
  }
  return shift + lowest_bit(rest);
#endif
}

}  // namespace onesearch
