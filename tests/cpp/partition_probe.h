// The reads of a partition, compiled for every tier.
#pragma once

#include <cstdint>

#include "cpu/isa.h"
#include "index/partition.h"

namespace onesearch {

struct PartitionProbe {
  uint32_t (*select_bit)(uint64_t word, uint32_t skip);
  uint32_t (*begin)(const Partition& partition, uint32_t part);
  NodeRange (*range)(const Partition& partition, uint32_t part);
  uint32_t (*part_of)(const Partition& partition, uint32_t element);
};
ONESEARCH_TIER_TABLE(PartitionProbe, partition_probe)

}  // namespace onesearch
