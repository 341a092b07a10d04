// What fuzzing does with the bytes of a trie file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "index/sid_trie.h"

namespace onesearch::testing {

// The trie that these bytes are as a file; null when they are refused.
std::shared_ptr<const SidTrie> load_bytes(const std::vector<uint8_t>& bytes, bool verify);

// Sets the checksums as far as the section table can be followed, so that mutations reach what lies
// behind them.
void reseal(std::vector<uint8_t>& bytes);

// Asks everything of a trie that may hold any bytes. Its memory accesses are what is tested; the
// trie is of no use afterwards.
void query_everything(const std::shared_ptr<const SidTrie>& trie);

// Whether the answers of a verified trie fit together.
bool is_consistent(const SidTrie& trie);

// Loads unverified and queries; loads verified and aborts unless refused or consistent.
void exercise(const std::vector<uint8_t>& bytes);

}  // namespace onesearch::testing
