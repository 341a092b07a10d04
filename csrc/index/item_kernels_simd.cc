#include "cpu/simd.h"
#include "index/item_kernels.h"
#include "index/item_set_view.h"

#if !defined(ONESEARCH_TIER_portable)
#include <immintrin.h>
#endif

namespace onesearch::ONESEARCH_TIER {
namespace {

// A test of a value gives a truth value; where a tier has lanes for its type, it gives a bit each
// for `kLanes` values at once.
template <class Test, class T>
ONESEARCH_INLINE uint64_t test_word(const Test& test, const T* values) {
  uint64_t word = 0;
  for (int at = 0; at < 64; at += Test::kLanes) word |= test.lanes(values + at) << at;
  return word;
}

template <class Test, class T>
ONESEARCH_INLINE void test_all(const Test& test, const T* values, int64_t n, bool join,
                               uint64_t* words) {
  int64_t at = 0;
  for (; at + 64 <= n; at += 64) {
    const uint64_t word = test_word(test, values + at);
    words[at / 64] = join ? words[at / 64] | word : word;
  }
  if (at == n) return;
  uint64_t word = 0;
  for (int64_t i = at; i < n; ++i) word |= static_cast<uint64_t>(test.one(values[i])) << (i - at);
  words[at / 64] = join ? words[at / 64] | word : word;
}

void count_blocks(const uint64_t* words, uint16_t* counts) {
  for (uint32_t block = 0; block < ItemChunk::kBlocks; ++block) {
    int count = 0;
    for (uint32_t word = 0; word < ItemChunk::kBlockWords; ++word) count += popcount(*words++);
    counts[block] = static_cast<uint16_t>(count);
  }
}

template <class T>
struct InRangeTest {
  T low;
  T span;

  bool one(T value) const { return static_cast<T>(value - low) <= span; }

#if defined(ONESEARCH_TIER_avx512)
  static constexpr int kLanes = 64 / sizeof(T);
  ONESEARCH_INLINE uint64_t lanes(const T* values) const {
    const __m512i x = _mm512_loadu_si512(values);
    if constexpr (sizeof(T) == 1) {
      const __m512i above = _mm512_sub_epi8(x, _mm512_set1_epi8(static_cast<char>(low)));
      return _mm512_cmple_epu8_mask(above, _mm512_set1_epi8(static_cast<char>(span)));
    } else if constexpr (sizeof(T) == 2) {
      const __m512i above = _mm512_sub_epi16(x, _mm512_set1_epi16(static_cast<short>(low)));
      return _mm512_cmple_epu16_mask(above, _mm512_set1_epi16(static_cast<short>(span)));
    } else if constexpr (sizeof(T) == 4) {
      const __m512i above = _mm512_sub_epi32(x, _mm512_set1_epi32(static_cast<int>(low)));
      return _mm512_cmple_epu32_mask(above, _mm512_set1_epi32(static_cast<int>(span)));
    } else {
      const __m512i above = _mm512_sub_epi64(x, _mm512_set1_epi64(static_cast<long long>(low)));
      return _mm512_cmple_epu64_mask(above, _mm512_set1_epi64(static_cast<long long>(span)));
    }
  }
#elif defined(ONESEARCH_TIER_avx2)
  static constexpr int kLanes = sizeof(T) == 2 ? 32 : 32 / sizeof(T);
  ONESEARCH_INLINE uint64_t lanes(const T* values) const {
    const auto* at = reinterpret_cast<const __m256i*>(values);
    if constexpr (sizeof(T) == 1) {
      const __m256i above =
          _mm256_sub_epi8(_mm256_loadu_si256(at), _mm256_set1_epi8(static_cast<char>(low)));
      const __m256i least = _mm256_min_epu8(above, _mm256_set1_epi8(static_cast<char>(span)));
      return static_cast<uint32_t>(_mm256_movemask_epi8(_mm256_cmpeq_epi8(above, least)));
    } else if constexpr (sizeof(T) == 2) {
      const __m256i both = _mm256_packs_epi16(halves(at), halves(at + 1));
      // Packing goes half by half.
      return static_cast<uint32_t>(_mm256_movemask_epi8(_mm256_permute4x64_epi64(both, 0xd8)));
    } else if constexpr (sizeof(T) == 4) {
      const __m256i above =
          _mm256_sub_epi32(_mm256_loadu_si256(at), _mm256_set1_epi32(static_cast<int>(low)));
      const __m256i least = _mm256_min_epu32(above, _mm256_set1_epi32(static_cast<int>(span)));
      const __m256i inside = _mm256_cmpeq_epi32(above, least);
      return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(inside)));
    } else {
      // Unsigned order is signed order with the sign bit turned over.
      const __m256i sign = _mm256_set1_epi64x(static_cast<long long>(uint64_t{1} << 63));
      const __m256i above =
          _mm256_sub_epi64(_mm256_loadu_si256(at), _mm256_set1_epi64x(static_cast<long long>(low)));
      const __m256i limit = _mm256_set1_epi64x(static_cast<long long>(span ^ (uint64_t{1} << 63)));
      const __m256i outside = _mm256_cmpgt_epi64(_mm256_xor_si256(above, sign), limit);
      return static_cast<uint32_t>(_mm256_movemask_pd(_mm256_castsi256_pd(outside))) ^ 0xfu;
    }
  }

  // 16 truth values of 16 bits.
  ONESEARCH_INLINE __m256i halves(const __m256i* at) const {
    const __m256i above =
        _mm256_sub_epi16(_mm256_loadu_si256(at), _mm256_set1_epi16(static_cast<short>(low)));
    const __m256i least = _mm256_min_epu16(above, _mm256_set1_epi16(static_cast<short>(span)));
    return _mm256_cmpeq_epi16(above, least);
  }
#else
  static constexpr int kLanes = 1;
  ONESEARCH_INLINE uint64_t lanes(const T* value) const { return one(*value); }
#endif
};

template <class T>
struct InRealRangeTest {
  T low;
  T high;

  bool one(T value) const { return value >= low && value <= high; }

#if defined(ONESEARCH_TIER_avx512)
  static constexpr int kLanes = 64 / sizeof(T);
  ONESEARCH_INLINE uint64_t lanes(const T* values) const {
    if constexpr (sizeof(T) == 4) {
      const __m512 x = _mm512_loadu_ps(values);
      const __mmask16 above = _mm512_cmp_ps_mask(x, _mm512_set1_ps(low), _CMP_GE_OQ);
      return _mm512_mask_cmp_ps_mask(above, x, _mm512_set1_ps(high), _CMP_LE_OQ);
    } else {
      const __m512d x = _mm512_loadu_pd(values);
      const __mmask8 above = _mm512_cmp_pd_mask(x, _mm512_set1_pd(low), _CMP_GE_OQ);
      return _mm512_mask_cmp_pd_mask(above, x, _mm512_set1_pd(high), _CMP_LE_OQ);
    }
  }
#elif defined(ONESEARCH_TIER_avx2)
  static constexpr int kLanes = 32 / sizeof(T);
  ONESEARCH_INLINE uint64_t lanes(const T* values) const {
    if constexpr (sizeof(T) == 4) {
      const __m256 x = _mm256_loadu_ps(values);
      const __m256 above = _mm256_cmp_ps(x, _mm256_set1_ps(low), _CMP_GE_OQ);
      const __m256 below = _mm256_cmp_ps(x, _mm256_set1_ps(high), _CMP_LE_OQ);
      return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_and_ps(above, below)));
    } else {
      const __m256d x = _mm256_loadu_pd(values);
      const __m256d above = _mm256_cmp_pd(x, _mm256_set1_pd(low), _CMP_GE_OQ);
      const __m256d below = _mm256_cmp_pd(x, _mm256_set1_pd(high), _CMP_LE_OQ);
      return static_cast<uint32_t>(_mm256_movemask_pd(_mm256_and_pd(above, below)));
    }
  }
#else
  static constexpr int kLanes = 1;
  ONESEARCH_INLINE uint64_t lanes(const T* value) const { return one(*value); }
#endif
};

// A bit of a table in memory.
template <class T>
struct InTableTest {
  const uint64_t* table;
  uint32_t size;

  bool one(T value) const { return value < size && ((table[value / 64] >> (value % 64)) & 1) != 0; }

#if defined(ONESEARCH_TIER_avx512)
  static constexpr int kLanes = 16;
  ONESEARCH_INLINE uint64_t lanes(const T* values) const {
    const __m512i index = load(values);
    const __m512i limit = _mm512_set1_epi32(static_cast<int>(size));
    const __mmask16 known = _mm512_cmplt_epu32_mask(index, limit);
    const __m512i words = _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), known,
                                                      _mm512_srli_epi32(index, 5), table, 4);
    const __m512i bit = _mm512_and_si512(index, _mm512_set1_epi32(31));
    return _mm512_test_epi32_mask(words, _mm512_sllv_epi32(_mm512_set1_epi32(1), bit));
  }
  ONESEARCH_INLINE static __m512i load(const uint16_t* values) {
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(values)));
  }
  ONESEARCH_INLINE static __m512i load(const uint32_t* values) {
    return _mm512_loadu_si512(values);
  }
#else
  static constexpr int kLanes = 1;
  ONESEARCH_INLINE uint64_t lanes(const T* value) const { return one(*value); }
#endif
};

#if defined(ONESEARCH_TIER_avx512)
// A bit of a table in two registers, five times as fast as one that is gathered from memory.
constexpr uint32_t kRegisterTableBits[] = {256, 1024};

template <class T>
struct InSmallTableTest : InTableTest<T> {
  __m512i low;
  __m512i high;

  InSmallTableTest(const uint64_t* bits, uint32_t num_bits) : InTableTest<T>{bits, num_bits} {
    uint64_t words[kRegisterTableBits[1] / 64] = {};
    memcpy(words, bits, (num_bits + 63) / 64 * sizeof(uint64_t));
    low = _mm512_loadu_si512(words);
    high = _mm512_loadu_si512(words + 8);
  }

  static constexpr int kLanes = 32;
  ONESEARCH_INLINE uint64_t lanes(const T* values) const {
    const __m512i index = load(values);
    const __m512i words = _mm512_permutex2var_epi16(low, _mm512_srli_epi16(index, 4), high);
    const __m512i bit = _mm512_and_si512(index, _mm512_set1_epi16(15));
    const __mmask32 inside =
        _mm512_test_epi16_mask(words, _mm512_sllv_epi16(_mm512_set1_epi16(1), bit));
    const __m512i limit = _mm512_set1_epi16(static_cast<short>(this->size));
    return inside & _mm512_cmplt_epu16_mask(index, limit);
  }
  ONESEARCH_INLINE static __m512i load(const uint8_t* values) {
    return _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(values)));
  }
  ONESEARCH_INLINE static __m512i load(const uint16_t* values) {
    return _mm512_loadu_si512(values);
  }
};
#elif defined(ONESEARCH_TIER_avx2)
constexpr uint32_t kRegisterTableBits[] = {256, 0};

// Of bytes: the table's 32 bytes in two registers, looked up by the upper five bits.
struct InByteTableTest : InTableTest<uint8_t> {
  __m256i low;
  __m256i high;

  InByteTableTest(const uint64_t* bits, uint32_t num_bits) : InTableTest<uint8_t>{bits, num_bits} {
    uint64_t words[4] = {};
    memcpy(words, bits, (num_bits + 63) / 64 * sizeof(uint64_t));
    const auto* at = reinterpret_cast<const __m128i*>(words);
    low = _mm256_broadcastsi128_si256(_mm_loadu_si128(at));
    high = _mm256_broadcastsi128_si256(_mm_loadu_si128(at + 1));
  }

  static constexpr int kLanes = 32;
  ONESEARCH_INLINE uint64_t lanes(const uint8_t* values) const {
    const __m256i code = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(values));
    const __m256i index = _mm256_and_si256(_mm256_srli_epi16(code, 3), _mm256_set1_epi8(15));
    const __m256i byte =
        _mm256_blendv_epi8(_mm256_shuffle_epi8(low, index), _mm256_shuffle_epi8(high, index), code);
    const __m256i powers = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201u));
    const __m256i bit = _mm256_shuffle_epi8(powers, _mm256_and_si256(code, _mm256_set1_epi8(7)));
    const __m256i outside = _mm256_cmpeq_epi8(_mm256_and_si256(byte, bit), _mm256_setzero_si256());
    return ~static_cast<uint32_t>(_mm256_movemask_epi8(outside));
  }
};
#else
constexpr uint32_t kRegisterTableBits[] = {0, 0};
#endif

template <class T>
struct InKeysTest {
  const KeySet& keys;
  static constexpr int kLanes = 1;

  ONESEARCH_INLINE uint64_t lanes(const T* value) const { return one(*value); }

  bool one(T value) const {
    const uint64_t hash = KeySet::hash(value, keys.filter_bits);
    if (((keys.filter[hash / 64] >> (hash % 64)) & 1) == 0) return false;
    int64_t low = 0;
    int64_t high = keys.num_keys;
    while (low < high) {
      const int64_t middle = low + (high - low) / 2;
      if (keys.keys[middle] < value) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low < keys.num_keys && keys.keys[low] == value;
  }
};

void pack_bytes(const uint8_t* bytes, int64_t n, uint64_t* words) {
  test_all(InRangeTest<uint8_t>{1, 0xfe}, bytes, n, false, words);
}

template <class T>
void in_range(const void* values, int64_t n, uint64_t low, uint64_t span, bool join,
              uint64_t* words) {
  const InRangeTest<T> test{static_cast<T>(low), static_cast<T>(span)};
  test_all(test, static_cast<const T*>(values), n, join, words);
}

template <class T>
void in_real_range(const void* values, int64_t n, double low, double high, bool join,
                   uint64_t* words) {
  const InRealRangeTest<T> test{static_cast<T>(low), static_cast<T>(high)};
  test_all(test, static_cast<const T*>(values), n, join, words);
}

template <class T>
void in_table(const void* values, int64_t n, const uint64_t* table, uint32_t size,
              uint64_t* words) {
  test_all(InTableTest<T>{table, size}, static_cast<const T*>(values), n, false, words);
}

#if defined(ONESEARCH_TIER_avx512)
template <>
void in_table<uint8_t>(const void* values, int64_t n, const uint64_t* table, uint32_t size,
                       uint64_t* words) {
  const InSmallTableTest<uint8_t> test(table, size);
  test_all(test, static_cast<const uint8_t*>(values), n, false, words);
}

template <>
void in_table<uint16_t>(const void* values, int64_t n, const uint64_t* table, uint32_t size,
                        uint64_t* words) {
  const auto* codes = static_cast<const uint16_t*>(values);
  if (size > kRegisterTableBits[1]) {
    test_all(InTableTest<uint16_t>{table, size}, codes, n, false, words);
  } else {
    test_all(InSmallTableTest<uint16_t>(table, size), codes, n, false, words);
  }
}
#elif defined(ONESEARCH_TIER_avx2)
template <>
void in_table<uint8_t>(const void* values, int64_t n, const uint64_t* table, uint32_t size,
                       uint64_t* words) {
  const InByteTableTest test(table, size);
  test_all(test, static_cast<const uint8_t*>(values), n, false, words);
}
#endif

template <class T>
void in_keys(const void* values, int64_t n, const KeySet& keys, uint64_t* words) {
  test_all(InKeysTest<T>{keys}, static_cast<const T*>(values), n, false, words);
}

}  // namespace

extern const ItemKernels item_kernels{
    &count_blocks,
    &pack_bytes,
    {&in_range<uint8_t>, &in_range<uint16_t>, &in_range<uint32_t>, &in_range<uint64_t>},
    {&in_real_range<float>, &in_real_range<double>},
    {&in_table<uint8_t>, &in_table<uint16_t>, &in_table<uint32_t>},
    {kRegisterTableBits[0], kRegisterTableBits[1]},
    {&in_keys<uint32_t>, &in_keys<uint64_t>},
};

}  // namespace onesearch::ONESEARCH_TIER
