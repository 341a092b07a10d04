#include "cpu/isa.h"

#include <atomic>
#include <cstdlib>

#include "core/error.h"
#include "cpu/cpuid.h"

namespace onesearch {
namespace {

constexpr const char* kNames[] = {"portable", "avx2", "avx512"};
constexpr int kUnset = -1;

IsaTier best_tier() {
  if (!cpu_has({"avx2", "fma", "f16c", "bmi2"})) return IsaTier::kPortable;
  const bool wide = cpu_has({"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd"});
  return wide ? IsaTier::kAvx512 : IsaTier::kAvx2;
}

IsaTier named_tier(const std::string& name) {
  for (int tier = 0; tier <= static_cast<int>(best_tier()); ++tier) {
    if (name == kNames[tier]) return static_cast<IsaTier>(tier);
  }
  throw InvalidArgument(complaint("onesearch_fast", "ONESEARCH_CPU_ISA",
                                  "one of " + usable_isa_tiers(), name,
                                  "unset it to take the best that this processor has"));
}

IsaTier initial_tier() {
  const char* name = std::getenv("ONESEARCH_CPU_ISA");
  return name == nullptr || *name == '\0' ? best_tier() : named_tier(name);
}

std::atomic<int>& current() {
  static std::atomic<int> tier{kUnset};
  return tier;
}

}  // namespace

IsaTier isa_tier() {
  const int tier = current().load(std::memory_order_relaxed);
  if (tier != kUnset) return static_cast<IsaTier>(tier);
  const IsaTier chosen = initial_tier();
  current().store(static_cast<int>(chosen), std::memory_order_relaxed);
  return chosen;
}

const char* isa_tier_name(IsaTier tier) { return kNames[static_cast<int>(tier)]; }

void set_isa_tier(IsaTier tier) {
  named_tier(isa_tier_name(tier));
  current().store(static_cast<int>(tier), std::memory_order_relaxed);
}

std::string usable_isa_tiers() {
  std::string names = kNames[0];
  for (int tier = 1; tier <= static_cast<int>(best_tier()); ++tier) {
    names += std::string(" ") + kNames[tier];
  }
  return names;
}

}  // namespace onesearch
