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
    } else if (partition_.words != nullptr) {
      words()[element / 64].begins |= uint64_t{1} << (element % 64);
    }
  }

  // After the begins of all parts: closes the last one and writes the directory.
  void finish() {
    begin(partition_.num_parts, partition_.num_elements);
    if (partition_.words != nullptr) write_directory();
  }

 private:
  PartitionWord* words() { return const_cast<PartitionWord*>(partition_.words); }

  void write_directory() {
    const uint32_t num_words = partition_.num_words();
    uint32_t count = 0;
    uint32_t next_hint = 0;
    for (uint32_t word = 0; word < num_words; ++word) {
      words()[word].before = count;
      count += static_cast<uint32_t>(popcount(words()[word].begins));
      for (; 64 * next_hint < count; ++next_hint) words()[next_hint].hint = word;
    }
    for (; next_hint < num_words; ++next_hint) words()[next_hint].hint = num_words - 1;
  }

  Partition partition_;
};

}  // namespace onesearch
