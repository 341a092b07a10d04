// The structural rules of a trie, beyond what its header says.
#pragma once

#include <string>

#include "index/sid_trie_view.h"

namespace onesearch {

// Throws FormatError unless every rule of docs/trie_file_format.md holds. Reads every section once
// and nothing outside of them, whatever they hold. `where` opens the sentence.
void verify_structure(const SidTrieView& view, const std::string& where);

}  // namespace onesearch
