// Tests on every tier of instruction sets that this processor has.
#pragma once

#include <string>
#include <vector>

#include "check.h"
#include "cpu/isa.h"

namespace onesearch::testing {

// Lowest first. The portable one is always among them.
inline std::vector<IsaTier> usable_tiers() {
  std::vector<IsaTier> usable;
  for (const IsaTier tier : {IsaTier::kPortable, IsaTier::kAvx2, IsaTier::kAvx512}) {
    const bool has = usable_isa_tiers().find(isa_tier_name(tier)) != std::string::npos;
    if (has) usable.push_back(tier);
  }
  return usable;
}

template <class Body>
void on_every_tier(const Body& body) {
  const IsaTier before = isa_tier();
  for (const IsaTier tier : usable_tiers()) {
    set_isa_tier(tier);
    body();
  }
  set_isa_tier(before);
}

}  // namespace onesearch::testing

#define TEST_ON_EVERY_TIER(name)                                        \
  static void name();                                                   \
  static const onesearch::testing::Registration registration_of_##name( \
      #name, [] { onesearch::testing::on_every_tier(&name); });         \
  static void name()
