// Hashes that are part of a contract: their values never change.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/portable.h"

namespace onesearch {

// A bijection of 64 bits: the finaliser of SplitMix64.
ONESEARCH_HD uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// Orders items of equal prior without favouring early rows, and being bijective it never ties for
// distinct ids.
ONESEARCH_HD uint64_t item_hash(int64_t item_id) {
  return mix(static_cast<uint64_t>(item_id) + 0x9e3779b97f4a7c15u);
}

// A number for each sequence of codes and seed, extended code by code from mix(seed): what a
// candidate's noise depends on.
ONESEARCH_HD uint64_t extend_path(uint64_t path, uint32_t code) {
  return mix(path + 0x9e3779b97f4a7c15u * (uint64_t{code} + 1));
}

// XXH64 with seed 0, as published by its specification.
uint64_t xxh64(const void* bytes, size_t size);

}  // namespace onesearch
