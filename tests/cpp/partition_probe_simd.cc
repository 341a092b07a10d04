#include "partition_probe.h"

namespace onesearch::ONESEARCH_TIER {
namespace {

uint32_t select_in(uint64_t word, uint32_t skip) { return select_bit(word, skip); }

uint32_t begin(const Partition& partition, uint32_t part) { return partition.begin(part); }

NodeRange range(const Partition& partition, uint32_t part) { return partition.range(part); }

uint32_t part_of(const Partition& partition, uint32_t element) {
  return partition.part_of(element);
}

}  // namespace

extern const PartitionProbe partition_probe{&select_in, &begin, &range, &part_of};

}  // namespace onesearch::ONESEARCH_TIER
