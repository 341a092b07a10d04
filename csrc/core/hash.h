// Hashes that are part of a contract: their values never change.
#pragma once

#include <cstddef>
#include <cstdint>

namespace onesearch {

// Bijective mix of an item id (the finaliser of SplitMix64): orders items of equal prior without
// favouring early rows, and being bijective it never ties for distinct ids.
inline uint64_t item_hash(int64_t item_id) {
  uint64_t x = static_cast<uint64_t>(item_id) + 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// XXH64 with seed 0, as published by its specification.
uint64_t xxh64(const void* bytes, size_t size);

}  // namespace onesearch
