#include "core/portable.h"
#include "index/node_scan.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace onesearch::ONESEARCH_TIER {
namespace {

constexpr int kMaxLevels = 8;
constexpr int kBlock = 64;
constexpr uint64_t kAll = ~uint64_t{0};

int top_bit(uint64_t x) { return x == 0 ? -1 : 63 - __builtin_clzll(x); }

int top_bit(WideKey x) {
  const auto high = static_cast<uint64_t>(x >> 64);
  return high != 0 ? 64 + top_bit(high) : top_bit(static_cast<uint64_t>(x));
}

// Bit i: tops[i] >= bit.
uint64_t at_least(const int8_t* tops, int bit) {
  const auto below = static_cast<char>(bit - 1);
#if defined(__AVX512BW__)
  return _mm512_cmpgt_epi8_mask(_mm512_load_si512(tops), _mm512_set1_epi8(below));
#elif defined(__AVX2__)
  uint64_t mask = 0;
  for (int i = 0; i < kBlock; i += 32) {
    const __m256i part = _mm256_load_si256(reinterpret_cast<const __m256i*>(tops + i));
    const __m256i greater = _mm256_cmpgt_epi8(part, _mm256_set1_epi8(below));
    mask |= uint64_t{static_cast<uint32_t>(_mm256_movemask_epi8(greater))} << i;
  }
  return mask;
#elif defined(__SSE2__)
  uint64_t mask = 0;
  for (int i = 0; i < kBlock; i += 16) {
    const __m128i part = _mm_load_si128(reinterpret_cast<const __m128i*>(tops + i));
    const __m128i greater = _mm_cmpgt_epi8(part, _mm_set1_epi8(below));
    mask |= uint64_t{static_cast<uint32_t>(_mm_movemask_epi8(greater))} << i;
  }
  return mask;
#else
  uint64_t mask = 0;
  for (int i = 0; i < kBlock; ++i) mask |= uint64_t{tops[i] > below} << i;
  return mask;
#endif
}

// Bit i of begins[level]: keys[i], of the first n <= kBlock, begins a node below an edge of
// `level`.
template <class Key>
void find_nodes(const Key* keys, int64_t n, const LevelTarget* levels, int num_levels,
                uint64_t* begins) {
  alignas(kBlock) int8_t tops[kBlock];
  for (int i = 0; i < kBlock; ++i) tops[i] = static_cast<int8_t>(top_bit(keys[i] ^ keys[i - 1]));
  const uint64_t present = n < kBlock ? (uint64_t{1} << n) - 1 : kAll;
  for (int level = 0; level < num_levels; ++level) {
    begins[level] = at_least(tops, levels[level].shift) & present;
  }
}

template <class Key>
void count(const KeySpan<Key>& span, const LevelTarget* levels, int num_levels, uint32_t* counts) {
  uint64_t begins[kMaxLevels];
  for (int level = 0; level < num_levels; ++level) counts[level] = 0;
  for (int64_t at = span.begin; at < span.end; at += kBlock) {
    find_nodes(span.keys + at, span.end - at, levels, num_levels, begins);
    for (int level = 0; level < num_levels; ++level) {
      counts[level] += static_cast<uint32_t>(popcount(begins[level]));
    }
  }
}

// The bits of `from` at the places where `places` has ones, side by side.
uint64_t gather_bits(uint64_t from, uint64_t places) {
  if (places == kAll) return from;
#if defined(__AVX512F__)
  // Only where AVX-512 is: processors whose pext is microcoded have none.
  return _pext_u64(from, places);
#else
  uint64_t gathered = 0;
  for (int i = 0; places != 0; places &= places - 1, ++i) {
    gathered |= (from >> lowest_bit(places) & 1) << i;
  }
  return gathered;
#endif
}

// Appends to the bits of a partition. Only the first and the last word it writes may also be
// another's.
class BitAppender {
 public:
  void open(PartitionWord* words, uint32_t at) {
    word_ = words == nullptr ? nullptr : words + at / 64;
    used_ = static_cast<int>(at % 64);
    is_shared_ = true;
  }

  // The low n <= 64 bits; those above must be zero.
  void append(uint64_t bits, int n) {
    pending_ |= bits << used_;
    if (used_ + n >= 64) {
      put();
      ++word_;
      is_shared_ = false;
      pending_ = used_ == 0 ? 0 : bits >> (64 - used_);
    }
    used_ = (used_ + n) % 64;
  }

  void close() {
    is_shared_ = true;
    if (pending_ != 0) put();
  }

  explicit operator bool() const { return word_ != nullptr; }

 private:
  void put() {
    if (is_shared_) {
      __atomic_fetch_or(&word_->begins, pending_, __ATOMIC_RELAXED);
    } else {
      word_->begins = pending_;
    }
  }

  PartitionWord* word_ = nullptr;
  uint64_t pending_ = 0;
  int used_ = 0;
  bool is_shared_ = true;
};

// Nodes of 64 keys that begin parts of a partition, or are its elements: bit i for key i, numbered
// from `first` on.
struct Numbered {
  uint64_t begins;
  uint32_t first;
};

void begin_parts(uint32_t* offsets, BitAppender* bits, Numbered parts, Numbered elements) {
  if (offsets != nullptr) {
    for (; parts.begins != 0; parts.begins &= parts.begins - 1) {
      const uint64_t before = elements.begins & ((parts.begins & -parts.begins) - 1);
      offsets[parts.first++] = elements.first + static_cast<uint32_t>(popcount(before));
    }
  } else if (*bits) {
    bits->append(gather_bits(parts.begins, elements.begins), popcount(elements.begins));
  }
}

template <class Token, class Key>
void write_tokens(const LevelTarget& level, const Key* keys, Numbered nodes) {
  Token* to = static_cast<Token*>(level.tokens) + nodes.first;
  const auto token = [&](int i) {
    return static_cast<Token>(static_cast<uint32_t>(keys[i] >> level.shift) & level.code_mask);
  };
  if (nodes.begins == kAll) {
    for (int i = 0; i < kBlock; ++i) to[i] = token(i);
    return;
  }
  for (; nodes.begins != 0; nodes.begins &= nodes.begins - 1)
    *to++ = token(lowest_bit(nodes.begins));
}

template <class Key>
void write_tokens(const LevelTarget& level, const Key* keys, Numbered nodes) {
  if (level.token_bytes == 1) {
    write_tokens<uint8_t>(level, keys, nodes);
  } else {
    write_tokens<uint16_t>(level, keys, nodes);
  }
}

template <class Key>
void write(const KeySpan<Key>& span, const LevelTarget* levels, int num_levels,
           const uint32_t* first) {
  Numbered nodes[kMaxLevels];
  BitAppender child_bits[kMaxLevels];
  BitAppender item_bits[kMaxLevels];
  for (int level = 0; level < num_levels; ++level) {
    nodes[level].first = first[level];
    child_bits[level].open(levels[level].child_words, first[level]);
    item_bits[level].open(levels[level].item_words, static_cast<uint32_t>(span.begin));
  }
  uint64_t begins[kMaxLevels];
  for (int64_t at = span.begin; at < span.end; at += kBlock) {
    const int64_t n = span.end - at < kBlock ? span.end - at : kBlock;
    find_nodes(span.keys + at, n, levels, num_levels, begins);
    const Numbered items{n < kBlock ? (uint64_t{1} << n) - 1 : kAll, static_cast<uint32_t>(at)};
    for (int level = 0; level < num_levels; ++level) {
      nodes[level].begins = begins[level];
      write_tokens(levels[level], span.keys + at, nodes[level]);
      begin_parts(levels[level].item_offsets, &item_bits[level], nodes[level], items);
      if (level > 0) {
        begin_parts(levels[level].child_offsets, &child_bits[level], nodes[level - 1],
                    nodes[level]);
      }
    }
    for (int level = 0; level < num_levels; ++level) {
      nodes[level].first += static_cast<uint32_t>(popcount(begins[level]));
    }
  }
  for (int level = 0; level < num_levels; ++level) {
    if (child_bits[level]) child_bits[level].close();
    if (item_bits[level]) item_bits[level].close();
  }
}

}  // namespace

extern const NodeScan node_scan{{&count<uint64_t>, &write<uint64_t>},
                                {&count<WideKey>, &write<WideKey>}};

}  // namespace onesearch::ONESEARCH_TIER
