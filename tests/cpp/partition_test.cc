// Partitions in their three forms, on every tier, against a list of begins; and of any bytes.
#include <algorithm>
#include <random>
#include <vector>

#include "check.h"
#include "index/partition_writer.h"
#include "partition_probe.h"
#include "tiers.h"

using namespace onesearch;
using namespace onesearch::testing;

namespace {

enum class Form { kOffsets, kWords };

// A partition with its memory, in a form of our choice, whichever would be the smaller.
struct OwnPartition {
  std::vector<uint32_t> offsets;
  std::vector<PartitionWord> words;
  Partition view;

  OwnPartition(Form form, uint32_t num_parts, uint32_t num_elements) {
    view.num_parts = num_parts;
    view.num_elements = num_elements;
    if (form == Form::kOffsets) {
      offsets.resize(size_t{num_parts} + 1);
      view.offsets = offsets.data();
    } else {
      words.resize(view.num_words());
      view.words = words.data();
    }
  }

  OwnPartition(Form form, const std::vector<uint32_t>& sizes)
      : OwnPartition(form, static_cast<uint32_t>(sizes.size()), sum_of(sizes)) {
    PartitionWriter writer(view);
    uint32_t begin = 0;
    for (uint32_t part = 0; part < sizes.size(); ++part) {
      writer.begin(part, begin);
      begin += sizes[part];
    }
    writer.finish();
  }
  OwnPartition(const OwnPartition&) = delete;
  OwnPartition& operator=(const OwnPartition&) = delete;

  static uint32_t sum_of(const std::vector<uint32_t>& sizes) {
    uint32_t sum = 0;
    for (const uint32_t size : sizes) sum += size;
    return sum;
  }
};

// Most parts have one element, every `period`-th has many.
std::vector<uint32_t> sizes_with_giants(uint32_t num_parts, uint32_t period, uint32_t giant) {
  std::vector<uint32_t> sizes(num_parts, 1);
  for (uint32_t part = 0; part < num_parts; part += period) sizes[part] = giant;
  return sizes;
}

std::vector<uint32_t> random_sizes(uint32_t seed, uint32_t num_parts, uint32_t largest) {
  std::mt19937 random(seed);
  std::vector<uint32_t> sizes(num_parts);
  for (uint32_t& size : sizes) size = 1 + random() % largest;
  return sizes;
}

std::vector<std::vector<uint32_t>> cases() {
  return {
      {1},
      {64},
      {63, 1},
      {1, 63, 1},
      std::vector<uint32_t>(1000, 1),
      std::vector<uint32_t>(64, 64),
      random_sizes(1, 5000, 2),
      random_sizes(2, 5000, 20),
      random_sizes(3, 300, 700),
      sizes_with_giants(4000, 64, 65536),
      sizes_with_giants(3000, 999, 10000),
  };
}

void check_partition(const Partition& partition, const std::vector<uint32_t>& sizes) {
  const PartitionProbe& probe = partition_probe();
  uint32_t begin = 0;
  for (uint32_t part = 0; part < sizes.size(); ++part) {
    CHECK_EQUAL(probe.begin(partition, part), begin);
    const NodeRange range = probe.range(partition, part);
    CHECK_EQUAL(range.begin, begin);
    CHECK_EQUAL(range.end, begin + sizes[part]);
    for (const uint32_t element : {begin, begin + sizes[part] / 2, begin + sizes[part] - 1}) {
      CHECK_EQUAL(probe.part_of(partition, element), part);
    }
    begin += sizes[part];
  }
  CHECK_EQUAL(probe.begin(partition, partition.num_parts), begin);
}

void check_bounds(const Partition& partition, uint32_t seed) {
  const PartitionProbe& probe = partition_probe();
  std::mt19937 random(seed);
  for (int i = 0; i < 50; ++i) {
    CHECK(probe.begin(partition, random() % (partition.num_parts + 1)) <= partition.num_elements);
    const NodeRange range = probe.range(partition, random() % partition.num_parts);
    CHECK(range.begin <= range.end && range.end <= partition.num_elements);
    CHECK(probe.part_of(partition, random() % partition.num_elements) < partition.num_parts);
  }
}

}  // namespace

TEST(a_bit_is_selected_as_by_counting) {
  std::mt19937_64 random(1);
  std::vector<uint64_t> words = {0, 1, ~uint64_t{0}, uint64_t{1} << 63, 0x8080808080808080u};
  for (int i = 0; i < 300; ++i) words.push_back(random());
  for (int i = 0; i < 300; ++i) words.push_back(random() & random() & random());
  on_every_tier([&] {
    for (const uint64_t word : words) {
      uint32_t skip = 0;
      for (uint32_t bit = 0; bit < 64; ++bit) {
        if ((word >> bit & 1) == 1) CHECK_EQUAL(partition_probe().select_bit(word, skip++), bit);
      }
      for (const uint32_t beyond : {skip, skip + 1, 64u, 65u, 128u, 0xffffffffu}) {
        CHECK_EQUAL(partition_probe().select_bit(word, beyond), 64u);
      }
    }
  });
}

TEST(both_forms_say_where_parts_begin) {
  for (const auto& sizes : cases()) {
    for (const Form form : {Form::kOffsets, Form::kWords}) {
      const OwnPartition own(form, sizes);
      on_every_tier([&] { check_partition(own.view, sizes); });
    }
  }
}

TEST(parts_of_one_element_need_no_memory) {
  Partition partition;
  partition.num_parts = partition.num_elements = 100;
  CHECK(partition.is_identity());
  CHECK(!partition.is_packed());
  on_every_tier([&] { check_partition(partition, std::vector<uint32_t>(100, 1)); });
}

TEST(the_smaller_form_is_taken) {
  const auto is_packed = [](uint32_t num_parts, uint32_t num_elements) {
    Partition partition;
    partition.num_parts = num_parts;
    partition.num_elements = num_elements;
    return partition.is_packed();
  };
  CHECK(!is_packed(1000, 1000));
  CHECK(is_packed(1000, 1001));
  CHECK(is_packed(1000, 15900));
  CHECK(!is_packed(1000, 16100));
  CHECK(!is_packed(1, 2));
  CHECK(is_packed(0x7ffffffe, 0x7fffffff));
}

TEST(any_bytes_give_ranges_that_fit) {
  std::mt19937 random(5);
  for (uint32_t seed = 0; seed < 300; ++seed) {
    const uint32_t num_parts = 1 + random() % 500;
    OwnPartition own(seed % 4 == 0 ? Form::kOffsets : Form::kWords, num_parts,
                     num_parts + random() % 1000);
    // Small numbers come close to sense, large ones do not.
    const uint32_t largest = seed % 3 == 0 ? 0xffffffff : own.view.num_elements;
    for (uint32_t& offset : own.offsets) offset = random() % largest;
    for (PartitionWord& word : own.words) {
      word = {random() * (uint64_t{1} << 32) + random(), static_cast<uint32_t>(random() % largest),
              static_cast<uint32_t>(random() % (seed % 3 == 0 ? largest : own.view.num_words()))};
    }
    on_every_tier([&] { check_bounds(own.view, seed); });
  }
}
