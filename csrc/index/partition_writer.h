// Fills the sections of a partition inside an image under construction.
#pragma once

#include <cstdint>

#include "index/partition.h"

namespace onesearch {

class PartitionWriter {
 public:
  // `partition` points into zeroed memory that is ours and not yet shared, which is written
  // through.
  explicit PartitionWriter(const Partition& partition) : partition_(partition) {}

  // `part` begins at `element`. Threads may share a writer as long as the elements of two threads
  // never lie in one word of 64.
  void begin(uint32_t part, uint32_t element) {
    if (partition_.offsets != nullptr) {
      const_cast<uint32_t*>(partition_.offsets)[part] = element;
    } else if (partition_.bits != nullptr) {
      const_cast<uint64_t*>(partition_.bits)[element / 64] |= uint64_t{1} << (element % 64);
    }
  }

  // After the begins of all parts: closes the last one and writes the directory.
  void finish() {
    begin(partition_.num_parts, partition_.num_elements);
    if (partition_.bits != nullptr) write_directory();
  }

 private:
  void write_directory() {
    auto* before = const_cast<uint32_t*>(partition_.before);
    auto* hint = const_cast<uint32_t*>(partition_.hint);
    const uint32_t num_blocks = partition_.num_blocks();
    uint32_t count = 0;
    uint32_t next_hint = 0;
    for (uint32_t block = 0; block < num_blocks; ++block) {
      before[block] = count;
      for (uint32_t word = 0; word < Partition::kBlockWords; ++word) {
        count += popcount(partition_.bits[block * Partition::kBlockWords + word]);
      }
      while (next_hint * Partition::kHintParts < count) hint[next_hint++] = block;
    }
    hint[next_hint] = num_blocks - 1;
  }

  Partition partition_;
};

}  // namespace onesearch
