#include "index/item_kernels.h"
#include "index/item_set_view.h"

namespace onesearch::ONESEARCH_TIER {
namespace {

void count_blocks(const uint64_t* words, uint16_t* counts) {
  for (uint32_t block = 0; block < ItemChunk::kBlocks; ++block) {
    int count = 0;
    for (uint32_t word = 0; word < ItemChunk::kBlockWords; ++word) count += popcount(*words++);
    counts[block] = static_cast<uint16_t>(count);
  }
}

// Calls bit(i) for i in [0, n) and stores the results as bits.
template <class Bit>
ONESEARCH_HD void pack_bits(int64_t n, uint64_t* words, Bit bit) {
  for (int64_t begin = 0; begin < n; begin += 64) {
    const int64_t size = n - begin < 64 ? n - begin : 64;
    uint64_t word = 0;
    for (int64_t i = 0; i < size; ++i) word |= static_cast<uint64_t>(bit(begin + i)) << i;
    words[begin / 64] = word;
  }
}

void pack_bytes(const uint8_t* bytes, int64_t n, uint64_t* words) {
  pack_bits(n, words, [bytes](int64_t i) { return bytes[i] != 0; });
}

void gather_bits(const uint64_t* bits, uint32_t num_bits, const uint32_t* rows, int64_t n,
                 uint64_t* words) {
  pack_bits(n, words, [=](int64_t i) {
    const uint32_t row = rows[i];
    return row < num_bits && ((bits[row / 64] >> (row % 64)) & 1) != 0;
  });
}

}  // namespace

extern const ItemKernels item_kernels{&count_blocks, &pack_bytes, &gather_bits};

}  // namespace onesearch::ONESEARCH_TIER
