// The emulation of tiles refuses what a processor refuses, and where the processor has tiles, both
// give the same bytes.
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "amx_tile_probe.h"
#include "check.h"
#include "cpu/amx.h"

using namespace onesearch;
using namespace onesearch::testing;

namespace {

using Bytes = std::vector<unsigned char>;

std::vector<const TileProbe*> probes() {
  std::vector<const TileProbe*> all{&emulated_tiles::tile_probe};
#if defined(__x86_64__)
  if (amx_bf16_usable()) all.push_back(&processor_tiles::tile_probe);
#endif
  return all;
}

// A fault ends a process, so a child tries.
template <class Body>
bool faults(const Body& body) {
  std::fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    const rlimit no_core{0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    for (const int fault : {SIGILL, SIGSEGV, SIGTRAP}) signal(fault, SIG_DFL);
    body();
    _exit(0);
  }
  int status = -1;
  waitpid(child, &status, 0);
  return WIFSIGNALED(status);
}

bool refused(const TileProbe& probe, const TileConfig& config) {
  return faults([&] { probe.configure(config); });
}

bool multiplies(const TileProbe& probe, const TileConfig& config) {
  return !faults([&] { probe.multiply_zeros(config); });
}

bool copies(const TileProbe& probe, const TileConfig& config) {
  Bytes from(16 * 64), to(16 * 64);
  return !faults([&] { probe.copy(config, from.data(), to.data(), 64); });
}

// Tile 0 of rows x columns words is to get tile 1 of rows x depth times tile 2 of depth x columns.
TileConfig product(int rows, int depth, int columns) {
  TileConfig config;
  config.set(0, rows, 4 * columns);
  config.set(1, rows, 4 * depth);
  config.set(2, depth, 4 * columns);
  return config;
}

#if defined(__x86_64__)
constexpr int64_t kStride = 80;  // of rows of 64 bytes, so that memory between them shows
constexpr size_t kMemory = 16 * kStride;

enum class Kind {
  kNormal,
  kTiny,     // products near the smallest normal number and below
  kAnyBits,  // any exponent, NaN among them
  kSpecial,  // zeros, subnormals, the largest, infinities, NaN
};

uint32_t some_float(Kind kind, std::mt19937& random) {
  const uint32_t bits = static_cast<uint32_t>(random());
  const uint32_t special[] = {0,          1,          0x007fffff, 0x00400000,
                              0x00800000, 0x3f800000, 0x7f7fffff, 0x7f800000,
                              0x7fc00000, 0x7fa12345, 0x00010000};
  const uint32_t sign_and_fraction = bits & 0x807fffff;
  switch (kind) {
    case Kind::kNormal:
      return sign_and_fraction | (120 + random() % 12) << 23;
    case Kind::kTiny:
      return sign_and_fraction | (random() % 8 == 0 ? 0 : 60 + random() % 8) << 23;
    case Kind::kSpecial:
      if (random() % 8 == 0) return special[random() % 11] | (bits & 0x80000000);
      return sign_and_fraction | (120 + random() % 12) << 23;
    default:
      return bits;
  }
}

Bytes some_bytes(size_t size, Kind kind, std::mt19937& random) {
  Bytes bytes(size);
  for (size_t i = 0; i < size; i += 2) {
    const auto upper = static_cast<uint16_t>(some_float(kind, random) >> 16);
    std::memcpy(&bytes[i], &upper, 2);
  }
  return bytes;
}

Bytes some_sums(size_t size, Kind kind, std::mt19937& random) {
  Bytes bytes(size);
  for (size_t i = 0; i < size; i += 4) {
    uint32_t sum = some_float(kind, random);
    if (kind == Kind::kTiny) sum = (sum & 0x807fffff) | (random() % 4) << 23;
    std::memcpy(&bytes[i], &sum, 4);
  }
  return bytes;
}

// Empty where all are the same. Of a NaN only that it is one: which of two it is from, the manual
// leaves open.
std::string first_difference(const Bytes& a, const Bytes& b) {
  for (size_t i = 0; i < a.size(); i += 4) {
    float x, y;
    uint32_t x_bits, y_bits;
    std::memcpy(&x, &a[i], 4);
    std::memcpy(&y, &b[i], 4);
    std::memcpy(&x_bits, &a[i], 4);
    std::memcpy(&y_bits, &b[i], 4);
    if (x_bits == y_bits || (std::isnan(x) && std::isnan(y))) continue;
    char text[80];
    std::snprintf(text, sizeof text, "byte %zu: %a, processor %a", i, x, y);
    return text;
  }
  return "";
}

void check_products(Kind kind) {
  if (!amx_bf16_usable()) return;
  std::mt19937 random(static_cast<unsigned>(kind));
  for (int i = 0; i < 400; ++i) {
    const int columns = i % 3 == 0 ? 16 : 1 + static_cast<int>(random() % 16);
    const TileConfig config = product(1 + static_cast<int>(random() % 16), i % 16 + 1, columns);
    const Bytes left = some_bytes(kMemory, kind, random);
    const Bytes right = some_bytes(kMemory, kind, random);
    Bytes emulated = some_sums(kMemory, kind, random);
    Bytes processed = emulated;
    const auto run = [&](const TileProbe& probe, Bytes* sum) {
      probe.multiply_add(config, sum->data(), left.data(), right.data(), kStride);
    };
    run(emulated_tiles::tile_probe, &emulated);
    run(processor_tiles::tile_probe, &processed);
    CHECK_EQUAL(first_difference(emulated, processed), "");
  }
}
#endif

}  // namespace

TEST(sound_shapes_are_taken) {
  for (const TileProbe* probe : probes()) {
    TileConfig all;
    for (int tile = 0; tile < 8; ++tile) all.set(tile, 16, 64);
    CHECK(!refused(*probe, TileConfig{}) && !refused(*probe, all));
    CHECK(multiplies(*probe, product(16, 16, 16)) && multiplies(*probe, product(1, 1, 1)));
  }
}

TEST(a_tile_has_rows_and_bytes_or_neither) {
  for (const TileProbe* probe : probes()) {
    for (const int tile : {0, 5, 7}) {
      TileConfig no_bytes = product(16, 16, 16);
      no_bytes.set(tile, 3, 0);
      CHECK(refused(*probe, no_bytes));
      TileConfig no_rows = product(16, 16, 16);
      no_rows.set(tile, 0, 8);
      CHECK(refused(*probe, no_rows));
    }
  }
}

TEST(a_tile_has_at_most_sixteen_rows_of_64_bytes) {
  for (const TileProbe* probe : probes()) {
    for (const int tile : {0, 7}) {
      TileConfig rows, row_bytes;
      rows.set(tile, 17, 64);
      row_bytes.set(tile, 16, 65);
      CHECK(refused(*probe, rows) && refused(*probe, row_bytes));
    }
  }
}

TEST(reserved_bytes_are_zero) {
  for (const TileProbe* probe : probes()) {
    for (const int at : {2, 9, 15, 32, 33, 47, 56, 63}) {
      TileConfig config = product(16, 16, 16);
      config.bytes[at] = 1;
      CHECK(refused(*probe, config));
    }
    TileConfig ninth = product(16, 16, 16);
    ninth.set(8, 16, 64);
    CHECK(refused(*probe, ninth));
  }
}

TEST(the_palette_is_the_first_or_none) {
  for (const TileProbe* probe : probes()) {
    TileConfig config = product(16, 16, 16);
    config.bytes[0] = 0;
    CHECK(!refused(*probe, config) && !multiplies(*probe, config));
    for (const unsigned char palette : {2, 255}) {
      config.bytes[0] = palette;
      CHECK(refused(*probe, config));
    }
  }
}

TEST(rows_of_tiles_are_whole_words) {
  for (const TileProbe* probe : probes()) {
    TileConfig copied;
    copied.set(0, 16, 62);
    CHECK(!refused(*probe, copied) && !copies(*probe, copied));
    TileConfig left = product(16, 15, 16);
    left.set(1, 16, 62);
    CHECK(!refused(*probe, left) && !multiplies(*probe, left));
    TileConfig right = product(16, 16, 15);
    right.set(0, 16, 62);
    right.set(2, 16, 62);
    CHECK(!refused(*probe, right) && !multiplies(*probe, right));
  }
}

TEST(shapes_of_a_product_fit) {
  for (const TileProbe* probe : probes()) {
    for (const int tile : {0, 1, 2}) {
      TileConfig rows = product(9, 9, 9);
      rows.set(tile, 8, 36);
      CHECK(!refused(*probe, rows) && !multiplies(*probe, rows));
      TileConfig words = product(9, 9, 9);
      words.set(tile, 9, 32);
      CHECK(!refused(*probe, words) && !multiplies(*probe, words));
    }
  }
}

#if defined(__x86_64__)
TEST(loads_stores_and_zeros_are_the_processors) {
  if (!amx_bf16_usable()) return;
  std::mt19937 random(1);
  for (int rows = 1; rows <= 16; ++rows) {
    for (const int row_bytes : {4, 8, 12, 28, 32, 60, 64}) {
      for (const int64_t stride : {64, 80, 0}) {
        TileConfig config;
        config.set(0, rows, row_bytes);
        const Bytes from = some_bytes(kMemory, Kind::kAnyBits, random);
        const auto both = [&](const auto& run) {
          Bytes emulated = some_bytes(kMemory, Kind::kAnyBits, random);
          Bytes processed = emulated;
          run(emulated_tiles::tile_probe, emulated.data());
          run(processor_tiles::tile_probe, processed.data());
          CHECK(emulated == processed);
        };
        both(
            [&](const TileProbe& probe, void* to) { probe.copy(config, from.data(), to, stride); });
        both([&](const TileProbe& probe, void* to) { probe.zero(config, to, stride); });
      }
    }
  }
}

TEST(products_have_the_processors_bits) {
  for (const Kind kind : {Kind::kNormal, Kind::kAnyBits, Kind::kSpecial}) check_products(kind);
}

TEST(products_that_vanish_have_the_processors_bits) { check_products(Kind::kTiny); }
#endif
