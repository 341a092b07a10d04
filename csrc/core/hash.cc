#include "core/hash.h"

#include <cstring>

namespace onesearch {
namespace {

constexpr uint64_t kPrime1 = 11400714785074694791u;
constexpr uint64_t kPrime2 = 14029467366897019727u;
constexpr uint64_t kPrime3 = 1609587929392839161u;
constexpr uint64_t kPrime4 = 9650029242287828579u;
constexpr uint64_t kPrime5 = 2870177450012600261u;

uint64_t rotate_left(uint64_t x, int bits) { return (x << bits) | (x >> (64 - bits)); }

template <class T>
uint64_t read(const unsigned char* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

uint64_t mix_lane(uint64_t lane, uint64_t input) {
  return rotate_left(lane + input * kPrime2, 31) * kPrime1;
}

uint64_t merge_lane(uint64_t hash, uint64_t lane) {
  return (hash ^ mix_lane(0, lane)) * kPrime1 + kPrime4;
}

uint64_t hash_stripes(const unsigned char*& at, const unsigned char* end) {
  uint64_t lanes[4] = {kPrime1 + kPrime2, kPrime2, 0, 0u - kPrime1};
  for (; end - at >= 32; at += 32) {
    for (int lane = 0; lane < 4; ++lane) {
      lanes[lane] = mix_lane(lanes[lane], read<uint64_t>(at + 8 * lane));
    }
  }
  uint64_t hash = rotate_left(lanes[0], 1) + rotate_left(lanes[1], 7) + rotate_left(lanes[2], 12) +
                  rotate_left(lanes[3], 18);
  for (const uint64_t lane : lanes) hash = merge_lane(hash, lane);
  return hash;
}

}  // namespace

uint64_t xxh64(const void* bytes, size_t size) {
  const auto* at = static_cast<const unsigned char*>(bytes);
  const unsigned char* end = at + size;
  uint64_t hash = (size >= 32 ? hash_stripes(at, end) : kPrime5) + size;
  for (; end - at >= 8; at += 8) {
    hash = rotate_left(hash ^ mix_lane(0, read<uint64_t>(at)), 27) * kPrime1 + kPrime4;
  }
  if (end - at >= 4) {
    hash = rotate_left(hash ^ (read<uint32_t>(at) * kPrime1), 23) * kPrime2 + kPrime3;
    at += 4;
  }
  for (; at < end; ++at) hash = rotate_left(hash ^ (*at * kPrime5), 11) * kPrime1;
  hash = (hash ^ (hash >> 33)) * kPrime2;
  hash = (hash ^ (hash >> 29)) * kPrime3;
  return hash ^ (hash >> 32);
}

}  // namespace onesearch
