// The loops over item bits that are worth vectorising.
#pragma once

#include <cstdint>

#include "cpu/isa.h"

namespace onesearch {

struct ItemKernels {
  // words [1024] -> members of each block of 512, counts [128]
  void (*count_blocks)(const uint64_t* words, uint16_t* counts);

  // bytes [n] -> bits of those that are not zero, words [ceil(n / 64)]
  void (*pack_bytes)(const uint8_t* bytes, int64_t n, uint64_t* words);

  // rows [n] -> bit rows[i] of `bits` [num_bits], words [ceil(n / 64)]; 0 for a row out of range
  void (*gather_bits)(const uint64_t* bits, uint32_t num_bits, const uint32_t* rows, int64_t n,
                      uint64_t* words);
};
ONESEARCH_TIER_TABLE(ItemKernels, item_kernels)

}  // namespace onesearch
