// From a snapshot to the next generation.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "index/generation.h"
#include "index/snapshot.h"

namespace onesearch {

// Builds and saves a generation of the living items, of which there is one at least: its trie and
// columns equal those built of the same items.
// Cost: a walk of the base, and a build.
std::shared_ptr<const Generation> rebuild(const Snapshot& snapshot, const std::string& folder,
                                          uint64_t number);

}  // namespace onesearch
