// What libFuzzer runs: one function a file format. The first byte says whether checksums are made
// right first, so that mutations reach what lies behind them; the rest is the file.
#pragma once

#include <cstddef>
#include <cstdint>

namespace onesearch::testing {

void fuzz_trie_file(const uint8_t* bytes, size_t size);
void fuzz_item_columns(const uint8_t* bytes, size_t size);
void fuzz_journal(const uint8_t* bytes, size_t size);

}  // namespace onesearch::testing
