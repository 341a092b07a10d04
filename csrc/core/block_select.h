// The largest of the keys that a block of threads collects, as a GPU's blocks do it and as the
// tests emulate them: `Block` is cuda/block.cuh on a device, tests/cpp/host_block.h on the host.
#pragma once

#include <cstdint>

#include "core/portable.h"

namespace onesearch {

// Candidates in memory that the whole block shares: keys that all differ, each with a node.
struct BlockCandidates {
  static constexpr uint32_t kDigits = 256;

  uint64_t* key;     // [capacity]
  uint32_t* node;    // [capacity]
  uint32_t* moved;   // [2, limit]
  uint32_t* count;   // [kDigits]
  uint32_t* scalar;  // [kScalars]
  uint32_t capacity;
  uint32_t limit;  // how many are wanted; the next power of two is at most the capacity

  enum Scalar { kSize, kDigit, kLeft, kMoved, kBound, kScalars };

  static ONESEARCH_HD uint64_t bytes(uint32_t capacity, uint32_t limit) {
    return uint64_t{capacity} * 12 + uint64_t{limit} * 8 + (kDigits + kScalars) * 4;
  }

  // In `memory`, aligned to 8 bytes, of bytes(capacity, limit).
  static ONESEARCH_HD BlockCandidates in(void* memory, uint32_t capacity, uint32_t limit) {
    auto* const key = static_cast<uint64_t*>(memory);
    auto* const node = reinterpret_cast<uint32_t*>(key + capacity);
    uint32_t* const moved = node + capacity;
    uint32_t* const count = moved + 2 * limit;
    return {key, node, moved, count, count + kDigits, capacity, limit};
  }
};

// Candidates above `floor` are worth collecting; the others cannot be among the wanted.
template <class Block>
class BlockSelect {
 public:
  ONESEARCH_HD BlockSelect(const Block& block, const BlockCandidates& candidates)
      : block_(block), all_(candidates) {
    if (block_.thread() == 0) {
      all_.scalar[BlockCandidates::kSize] = 0;
      all_.scalar[BlockCandidates::kBound] = 0;
    }
    block_.sync();
  }

  ONESEARCH_HD uint64_t floor() const { return floor_; }
  ONESEARCH_HD const BlockCandidates& all() const { return all_; }

  // By any thread at any time between two calls of make_room.
  ONESEARCH_HD void add(uint64_t key, uint32_t node) const {
    const uint32_t at = block_.append(&all_.scalar[BlockCandidates::kSize]);
    all_.key[at] = key;
    all_.node[at] = node;
  }

  // By any thread at any time: the block keeps the largest.
  ONESEARCH_HD void raise_bound(uint32_t bound) const {
    block_.raise(&all_.scalar[BlockCandidates::kBound], bound);
  }
  ONESEARCH_HD uint32_t bound() const { return all_.scalar[BlockCandidates::kBound]; }

  // By all threads: until the next call, `most` more fit. most <= capacity - limit.
  ONESEARCH_HD void make_room(uint32_t most) {
    block_.sync();
    const uint32_t size = all_.scalar[BlockCandidates::kSize];
    block_.sync();  // nobody adds before all have read
    if (size + most > all_.capacity) cut(size);
  }

  // By all threads: at most `limit` are left, in any order; returns how many.
  ONESEARCH_HD uint32_t finish() {
    block_.sync();
    const uint32_t size = all_.scalar[BlockCandidates::kSize];
    block_.sync();
    if (size > all_.limit) cut(size);
    return size < all_.limit ? size : all_.limit;
  }

  // By all threads: the same, best first.
  ONESEARCH_HD uint32_t finish_sorted() {
    const uint32_t size = finish();
    uint32_t width = 1;
    while (width < size) width *= 2;
    for (uint32_t i = size + block_.thread(); i < width; i += block_.threads()) all_.key[i] = 0;
    block_.sync();
    for (uint32_t run = 2; run <= width; run *= 2) {
      for (uint32_t step = run / 2; step > 0; step /= 2) compare(width, run, step);
    }
    return size;
  }

 private:
  // A step of a bitonic sort, descending.
  ONESEARCH_HD void compare(uint32_t width, uint32_t run, uint32_t step) const {
    for (uint32_t pair = block_.thread(); pair < width / 2; pair += block_.threads()) {
      const uint32_t low = 2 * pair - (pair & (step - 1));
      const uint32_t high = low + step;
      const bool descending = (low & run) == 0;
      if ((all_.key[low] < all_.key[high]) == descending) exchange(low, high);
    }
    block_.sync();
  }

  ONESEARCH_HD void exchange(uint32_t a, uint32_t b) const {
    const uint64_t key = all_.key[a];
    const uint32_t node = all_.node[a];
    all_.key[a] = all_.key[b];
    all_.node[a] = all_.node[b];
    all_.key[b] = key;
    all_.node[b] = node;
  }

  // Keeps the `limit` largest of `size` > limit keys, which are one set whatever their order is.
  ONESEARCH_HD void cut(uint32_t size) {
    uint64_t digits = 0;  // of the smallest key to keep, as far as known
    uint64_t known = 0;   // where they are known
    uint32_t left = all_.limit;
    for (int shift = 56; shift >= 0; shift -= 8) {
      count_digits(size, digits, known, shift);
      find_digit(left);
      digits |= uint64_t{all_.scalar[BlockCandidates::kDigit]} << shift;
      known |= uint64_t{0xff} << shift;
      left = all_.scalar[BlockCandidates::kLeft];
      if (left == all_.count[(digits >> shift) & 0xff]) break;  // all that begin so are kept
    }
    block_.sync();
    compact(size, digits, known);
    floor_ = digits - 1;  // the smallest key kept is at least `digits`
  }

  // How many keys that begin with the known digits go on with each.
  ONESEARCH_HD void count_digits(uint32_t size, uint64_t digits, uint64_t known, int shift) const {
    block_.sync();
    for (uint32_t i = block_.thread(); i < BlockCandidates::kDigits; i += block_.threads()) {
      all_.count[i] = 0;
    }
    block_.sync();
    for (uint32_t i = block_.thread(); i < size; i += block_.threads()) {
      const uint64_t key = all_.key[i];
      if ((key & known) == digits) block_.increment(&all_.count[(key >> shift) & 0xff]);
    }
    block_.sync();
  }

  // The digit of number `left` from the top, and its number among those of the same digit.
  ONESEARCH_HD void find_digit(uint32_t left) const {
    if (block_.warp() == 0) {
      const uint32_t share = BlockCandidates::kDigits / block_.lanes();
      const uint32_t top = BlockCandidates::kDigits - 1 - share * block_.lane();
      uint32_t own = 0;
      for (uint32_t i = 0; i < share; ++i) own += all_.count[top - i];
      uint32_t above = block_.sum_of_lower_lanes(own);
      for (uint32_t i = 0; i < share; ++i) {
        const uint32_t here = all_.count[top - i];
        if (above < left && above + here >= left) {
          all_.scalar[BlockCandidates::kDigit] = top - i;
          all_.scalar[BlockCandidates::kLeft] = left - above;
        }
        above += here;
      }
    }
    block_.sync();
  }

  // Keys to keep that lie past `limit` take the places of those before it that go.
  ONESEARCH_HD void compact(uint32_t size, uint64_t digits, uint64_t known) const {
    uint32_t* const holes = all_.moved;
    uint32_t* const movers = all_.moved + all_.limit;
    if (block_.thread() == 0) {
      all_.scalar[BlockCandidates::kMoved] = 0;
      all_.scalar[BlockCandidates::kDigit] = 0;  // of no more use as a digit: counts movers
    }
    block_.sync();
    for (uint32_t i = block_.thread(); i < size; i += block_.threads()) {
      const bool kept = (all_.key[i] & known) >= digits;
      if (i < all_.limit && !kept) holes[block_.append(&all_.scalar[BlockCandidates::kMoved])] = i;
      if (i >= all_.limit && kept) movers[block_.append(&all_.scalar[BlockCandidates::kDigit])] = i;
    }
    block_.sync();
    for (uint32_t i = block_.thread(); i < all_.scalar[BlockCandidates::kMoved];
         i += block_.threads()) {
      all_.key[holes[i]] = all_.key[movers[i]];
      all_.node[holes[i]] = all_.node[movers[i]];
    }
    if (block_.thread() == 0) all_.scalar[BlockCandidates::kSize] = all_.limit;
    block_.sync();
  }

  const Block& block_;
  BlockCandidates all_;
  uint64_t floor_ = 0;
};

}  // namespace onesearch
