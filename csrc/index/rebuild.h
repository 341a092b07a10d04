// From a snapshot to a trie of its living items, the next generation.
#pragma once

#include <memory>

#include "index/sid_trie.h"
#include "index/snapshot.h"

namespace onesearch {

// Equal to a trie built of the same items, with their scores. The snapshot has a living item.
// Cost: a walk of the base, and a build.
std::shared_ptr<const SidTrie> rebuild(const Snapshot& snapshot);

}  // namespace onesearch
