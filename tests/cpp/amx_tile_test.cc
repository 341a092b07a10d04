// The emulation of tiles refuses what a processor refuses, and where the processor has tiles, both
// give the same bytes.
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

#include "amx_tile_probe.h"
#include "check.h"
#include "cpu/amx.h"

using namespace onesearch;
using namespace onesearch::testing;

namespace {

constexpr int64_t kStride = 80;  // of rows of 64 bytes, so that memory between them shows

using Bytes = std::vector<unsigned char>;

bool processor_has_tiles() {
#if defined(__x86_64__)
  return amx_bf16_usable();
#else
  return false;
#endif
}

std::vector<const TileProbe*> probes() {
  std::vector<const TileProbe*> all{&emulated_tiles::tile_probe};
#if defined(__x86_64__)
  if (processor_has_tiles()) all.push_back(&processor_tiles::tile_probe);
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
  Bytes memory(3 * 16 * 64);
  unsigned char* tiles = memory.data();
  return !faults([&] { probe.multiply_add(config, tiles, tiles + 1024, tiles + 2048, 64); });
}

// Tile 0 of rows x columns words is to get tile 1 of rows x depth times tile 2 of depth x columns.
TileConfig product(int rows, int depth, int columns) {
  TileConfig config;
  config.set(0, rows, 4 * columns);
  config.set(1, rows, 4 * depth);
  config.set(2, depth, 4 * columns);
  return config;
}

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

TEST(rows_of_a_product_are_whole_words) {
  for (const TileProbe* probe : probes()) {
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
