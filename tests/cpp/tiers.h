// The tiers of instruction sets that tests can run here.
#pragma once

#include <string>
#include <vector>

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

}  // namespace onesearch::testing
