#include "cpu/cpuid.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <algorithm>
#include <cstdint>

namespace onesearch {

#if defined(__x86_64__)
namespace {

struct Registers {
  uint32_t eax = 0;
  uint32_t ebx = 0;
  uint32_t ecx = 0;
  uint32_t edx = 0;
};

Registers cpuid(uint32_t leaf, uint32_t subleaf) {
  Registers r;
  __get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx);
  return r;
}

// Register states that the operating system saves; an extension without its state cannot be used.
uint64_t saved_states(const Registers& leaf1) {
  const bool has_xgetbv = (leaf1.ecx >> 27) & 1;
  if (!has_xgetbv) return 0;
  uint32_t low;
  uint32_t high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return static_cast<uint64_t>(high) << 32 | low;
}

struct Feature {
  const char* name;
  uint32_t reported_in;
  int bit;
  uint64_t states;
};

}  // namespace

std::string cpu_architecture() { return "x86_64"; }

// Not __builtin_cpu_supports: its tables are absent under some compilers' run times.
std::vector<std::string> cpu_features() {
  constexpr uint64_t kAvx = 0x6;
  constexpr uint64_t kAvx512 = 0xe6;
  constexpr uint64_t kAmx = 0x60000;
  const Registers leaf1 = cpuid(1, 0);
  const Registers leaf7 = cpuid(7, 0);
  const Registers leaf7_1 = cpuid(7, 1);
  const uint64_t states = saved_states(leaf1);
  const Feature known[] = {
      {"sse4.2", leaf1.ecx, 20, 0},
      {"avx2", leaf7.ebx, 5, kAvx},
      {"fma", leaf1.ecx, 12, kAvx},
      {"f16c", leaf1.ecx, 29, kAvx},
      {"bmi2", leaf7.ebx, 8, 0},
      {"avx512f", leaf7.ebx, 16, kAvx512},
      {"avx512dq", leaf7.ebx, 17, kAvx512},
      {"avx512cd", leaf7.ebx, 28, kAvx512},
      {"avx512bw", leaf7.ebx, 30, kAvx512},
      {"avx512vl", leaf7.ebx, 31, kAvx512},
      {"avx512_vnni", leaf7.ecx, 11, kAvx512},
      {"avx512_bf16", leaf7_1.eax, 5, kAvx512},
      {"avx512_fp16", leaf7.edx, 23, kAvx512},
      {"amx_tile", leaf7.edx, 24, kAmx},
      {"amx_int8", leaf7.edx, 25, kAmx},
      {"amx_bf16", leaf7.edx, 22, kAmx},
  };
  std::vector<std::string> usable;
  for (const Feature& feature : known) {
    const bool present = (feature.reported_in >> feature.bit) & 1;
    if (present && (states & feature.states) == feature.states) usable.emplace_back(feature.name);
  }
  return usable;
}

#else

std::string cpu_architecture() {
#if defined(__aarch64__)
  return "aarch64";
#else
  return "unknown";
#endif
}

std::vector<std::string> cpu_features() { return {}; }

#endif

bool cpu_has(std::initializer_list<const char*> features) {
  const std::vector<std::string> usable = cpu_features();
  return std::all_of(features.begin(), features.end(), [&](const char* feature) {
    return std::find(usable.begin(), usable.end(), feature) != usable.end();
  });
}

}  // namespace onesearch
