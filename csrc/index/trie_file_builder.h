// A trie file from a catalogue larger than memory.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "index/trie_builder.h"

namespace onesearch {

struct FileBuildOptions {
  std::vector<int64_t> level_sizes;
  bool keep_scores = false;
  int64_t max_memory_bytes = 0;  // at least 32 MiB; files are mapped beside it
  std::string scratch_folder;
};

// Gives the next rows of the catalogue, which stay as they are until the next call; their
// level_sizes and keep_scores are not looked at. False after the last.
using NextChunk = std::function<bool(CatalogueCodes* chunk)>;

// Writes to `path` the bytes that build_image gives for all chunks as one; the file is whole or
// untouched. Scratch files hold up to twice 12 bytes an item (20 where codes take more than 64
// bits), and 8 more for each of ids and scores.
void build_file(const std::string& path, const FileBuildOptions& options,
                const NextChunk& next_chunk);

}  // namespace onesearch
