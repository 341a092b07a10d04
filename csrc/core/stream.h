// Stores that go around the caches: for lines that are written whole and read much later, where an
// ordinary store would first fetch the line from memory.
#pragma once

#include <cstddef>
#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace onesearch {

// Copies `bytes`, a multiple of 16 between addresses that are multiples of 16.
inline void stream_copy(void* to, const void* from, size_t bytes) {
#if defined(__SSE2__)
  const auto* source = static_cast<const __m128i*>(from);
  auto* target = static_cast<__m128i*>(to);
  for (size_t i = 0; i < bytes / sizeof(__m128i); ++i) {
    _mm_stream_si128(target + i, _mm_load_si128(source + i));
  }
#else
  std::memcpy(to, from, bytes);
#endif
}

// After the last stream_copy of a thread, before another thread may read what it wrote.
inline void stream_fence() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

}  // namespace onesearch
