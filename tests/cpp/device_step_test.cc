// The algorithm of a GPU's blocks (ops/constrained_beam_step/device_step.h), emulated by threads,
// against the step on the CPU; and the images that its data crosses in.
#include "ops/constrained_beam_step/device_step.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>
#include <vector>

#include "beam_step.h"
#include "changed_catalogue.h"
#include "check.h"
#include "core/error.h"
#include "host_block.h"
#include "index/device_image.h"
#include "index/item_filter.h"

using namespace onesearch;
using namespace onesearch::testing;

namespace {

constexpr uint32_t kThreads = 3;
constexpr uint32_t kOffered = 36;  // twelve of a warp: more than it reads at once, and a rest

// Memory of a block, with as little room as there may be, so that every look cuts.
class BlockMemory {
 public:
  explicit BlockMemory(uint32_t limit)
      : capacity_(limit + std::max(limit, kOffered)),
        limit_(limit),
        memory_(BlockCandidates::bytes(capacity_, limit) / 8 + 1) {}

  BlockCandidates candidates() { return BlockCandidates::in(memory_.data(), capacity_, limit_); }

 private:
  uint32_t capacity_;
  uint32_t limit_;
  std::vector<uint64_t> memory_;
};

void walk(const DeviceBeamStep& step, uint32_t request, uint32_t share) {
  BlockMemory memory(step.limit());
  const int64_t list = int64_t{request} * step.shares + share;
  HostBlock::run(kThreads, [&](const HostBlock& block) {
    BlockSelect<HostBlock> best(block, memory.candidates());
    BlockStep<HostBlock, float>(block, step, request).walk(share, &best);
    const uint32_t size = best.finish();
    if (block.thread() != 0) return;
    std::copy_n(best.all().key, size, step.lists.key + list * step.limit());
    std::copy_n(best.all().node, size, step.lists.node + list * step.limit());
    step.lists.size[list] = size;
    step.lists.lost[list] = best.bound();
  });
}

// As a cluster of `blocks`: the first goes last here, since the others' lists must be whole.
void merge(const DeviceBeamStep& step, uint32_t request, uint32_t blocks) {
  std::vector<BlockMemory> memory(blocks, BlockMemory(step.limit()));
  const uint32_t part = step.shares / blocks;
  const auto in_memory = [&](uint32_t share) { return step.list(request, share); };
  const auto of_block = [&](uint32_t rank) {
    const BlockCandidates found = memory[rank].candidates();
    return ShareList{found.key, found.node, found.scalar[BlockCandidates::kSize],
                     found.scalar[BlockCandidates::kBound]};
  };
  for (uint32_t left = blocks; left > 0; --left) {
    const uint32_t rank = left - 1;
    HostBlock::run(kThreads, [&](const HostBlock& block) {
      BlockSelect<HostBlock> best(block, memory[rank].candidates());
      const BlockStep<HostBlock, float> merged(block, step, request);
      merged.merge(rank * part, part, in_memory, &best);
      best.finish();
      if (rank > 0) return;
      merged.merge(1, blocks - 1, of_block, &best);
      merged.write(&best);
    });
  }
}

// Views of packed copies, as a device has them, with the memory they lie in.
struct Uploaded {
  std::vector<std::unique_ptr<unsigned char[]>> memory;
  BeamStepSlot slot;

  Uploaded(const CatalogueView& catalogue, const CatalogueFilterView& filter) {
    const auto upload = [this](const auto& pack) {
      ImagePacker measured(0);
      pack(&measured);
      memory.emplace_back(new unsigned char[measured.bytes() + ImagePacker::kAlignment]);
      const auto start = reinterpret_cast<uint64_t>(memory.back().get());
      const uint64_t address = (start + ImagePacker::kAlignment - 1) & ~uint64_t{63};
      ImagePacker packer(address, reinterpret_cast<unsigned char*>(address));
      return pack(&packer);
    };
    const SidTrieView base =
        upload([&](ImagePacker* packer) { return pack_trie(catalogue.base, packer); });
    slot.catalogue = upload([&](ImagePacker* packer) { return pack_changes(catalogue, packer); });
    slot.catalogue.base = base;
    slot.filter =
        upload([&](ImagePacker* packer) { return pack_filter(filter, catalogue, packer); });
  }
};

// How the work of a request is cut.
struct Cut {
  uint32_t shares;
  uint32_t merging;
};
constexpr Cut kOneMerges = {3, 1};

void run_on_device(Step* step, const CatalogueFilterView& filter, Cut cut = kOneMerges) {
  const Uploaded uploaded(step->catalogue, filter);
  const std::vector<BeamStepSlot> slots(static_cast<size_t>(step->batch), uploaded.slot);
  DeviceBeamStep device = device_step(step->input, step->output, slots.data());
  device.offered = kOffered;
  device.shares = cut.shares;
  std::vector<uint64_t> lists(list_bytes(device) / 8 + 1);
  place_lists(lists.data(), &device);
  for (uint32_t request = 0; request < device.batch; ++request) {
    for (uint32_t share = 0; share < cut.shares; ++share) walk(device, request, share);
    merge(device, request, cut.merging);
  }
}

void check_close(float got, float want) {
  if (got == want) return;
  CHECK(std::fabs(got - want) <= 1e-5f + 1e-5f * std::fabs(want));
}

// The same step by both; sums without exponentials have the same bits.
void compare(uint32_t seed, const CatalogueView& catalogue, const ItemFilter* filter, int level,
             int64_t beams, int64_t width, Normalizer normalizer, Cut cut = kOneMerges) {
  Step want(seed, catalogue, level, 2, level == 0 ? 1 : beams, width, normalizer);
  Step got(seed, catalogue, level, 2, level == 0 ? 1 : beams, width, normalizer);
  const CatalogueFilterView view = filter == nullptr ? CatalogueFilterView{} : filter->view();
  const CatalogueFilterView* const filters[] = {&view};
  want.input.filters = {filters, 1};
  want.run();
  run_on_device(&got, view, cut);
  const bool exact = normalizer == Normalizer::kNone || normalizer == Normalizer::kVocab;
  if (exact) CHECK(got.bits() == want.bits());
  CHECK(got.count == want.count);
  for (size_t i = 0; i < got.scores.size(); ++i) check_close(got.scores[i], want.scores[i]);
  for (size_t i = 0; i < got.count.size(); ++i)
    check_close(got.best_dropped[i], want.best_dropped[i]);
}

constexpr Normalizer kNormalizers[] = {Normalizer::kLevel, Normalizer::kChildren, Normalizer::kNone,
                                       Normalizer::kVocab};

}  // namespace

TEST(a_block_steps_as_the_cpu_does) {
  const RandomCatalogue random = random_catalogue(3, kSizes, 4000);
  const auto trie = SidTrie::build(random.input());
  for (const Normalizer normalizer : kNormalizers) {
    for (int level = 0; level < 3; ++level) {
      compare(level, trie->catalogue_view(), nullptr, level, 9, 20, normalizer);
    }
  }
  compare(5, trie->catalogue_view(), nullptr, 1, 9, 1, Normalizer::kNone);
  compare(6, trie->catalogue_view(), nullptr, 1, 9, 3000,
          Normalizer::kVocab);  // more than there are
}

TEST(warps_share_the_rows_of_few_beams) {
  const RandomCatalogue random = random_catalogue(3, kSizes, 4000);
  const auto trie = SidTrie::build(random.input());
  for (const int64_t beams : {1, 2, 3, 5, 6, 7}) {
    for (const Normalizer normalizer : kNormalizers) {
      compare(static_cast<uint32_t>(beams), trie->catalogue_view(), nullptr, 1, beams, 20,
              normalizer);
    }
  }
}

TEST(several_blocks_merge) {
  const RandomCatalogue random = random_catalogue(3, kSizes, 4000);
  const auto trie = SidTrie::build(random.input());
  for (const Cut cut : {Cut{4, 2}, Cut{4, 4}, Cut{16, 8}}) {
    for (const int64_t width : {1, 20, 200}) {
      compare(cut.merging, trie->catalogue_view(), nullptr, 1, 9, width, Normalizer::kNone, cut);
    }
  }
}

TEST(so_many_blocks_merge_that_each_has_room) {
  DeviceBeamStep step;
  const auto expect = [&step](uint32_t num_beams, uint32_t shares, uint32_t blocks) {
    step.num_beams = num_beams;
    step.shares = shares;
    step.offered = step_offered(step.limit());
    CHECK_EQUAL(merging_blocks(step, true), blocks);
    CHECK_EQUAL(merging_blocks(step, false), 1u);
  };
  expect(256, 1, 1);
  expect(256, 16, 1);
  expect(256, 32, 2);
  expect(1024, 32, 8);
  expect(4096, 32, 8);
  expect(4096, 2, 1);
}

TEST(widths_on_a_device_count_up_to_num_beams) {
  const RandomCatalogue random = random_catalogue(3, kSizes, 4000);
  const auto trie = SidTrie::build(random.input());
  Step step(1, trie->catalogue_view(), 1, 2, 9, 5, Normalizer::kNone);
  std::vector<int32_t> widths = {-7, 1000};
  BeamStepOptions options;
  const TensorView view = tensor(widths, DType::kInt32, {2});
  options.beam_widths = &view;
  step.input.options = &options;
  run_on_device(&step, {});
  CHECK((step.count == std::vector<int32_t>{0, 5}));
  CHECK(std::all_of(step.tokens.begin(), step.tokens.begin() + 5, [](int t) { return t == -1; }));
}

TEST(a_block_steps_over_a_live_catalogue) {
  const ChangedCatalogue changed(4, 1500, 1200);
  for (const Normalizer normalizer : kNormalizers) {
    for (int level = 0; level < 3; ++level) {
      compare(level, changed.snapshot->catalogue_view(), nullptr, level, 9, 30, normalizer);
    }
  }
}

TEST(a_block_steps_through_filters) {
  const ChangedCatalogue changed(7, 800, 500);
  ItemSelection deny;
  deny.ids = changed.living.data();
  deny.num_ids = static_cast<int64_t>(changed.living.size()) / 2;
  const auto filter = ItemFilter::make(changed.snapshot, nullptr, &deny);
  for (const Normalizer normalizer : kNormalizers) {
    for (int level = 0; level < 3; ++level) {
      compare(level, changed.snapshot->catalogue_view(), filter.get(), level, 9, 30, normalizer);
    }
  }
}

TEST(a_block_kills_poisoned_rows) {
  const RandomCatalogue random = random_catalogue(3, kSizes, 4000);
  const auto trie = SidTrie::build(random.input());
  const float poisons[] = {NAN, INFINITY, -INFINITY};
  for (const Normalizer normalizer : kNormalizers) {
    Step want(1, trie->catalogue_view(), 1, 2, 9, 40, normalizer);
    Step got(1, trie->catalogue_view(), 1, 2, 9, 40, normalizer);
    for (Step* step : {&want, &got}) {
      for (size_t i = 0; i < 3; ++i) {
        step->logits[i * 300 + 17] = poisons[i];
        step->beam_scores[10 + i] = poisons[i];
      }
      std::fill_n(step->logits.begin() + 5 * 300, 300, -INFINITY);
    }
    want.run();
    run_on_device(&got, {});
    CHECK(got.count == want.count);
    for (size_t i = 0; i < got.scores.size(); ++i) check_close(got.scores[i], want.scores[i]);
    for (size_t i = 0; i < 2; ++i) check_close(got.best_dropped[i], want.best_dropped[i]);
  }
}

TEST(a_block_keeps_the_largest_keys) {
  for (const uint32_t limit : {1u, 2u, 33u, 100u}) {
    std::mt19937_64 random(limit);
    std::vector<uint64_t> keys;
    for (uint32_t i = 1; i <= 5000; ++i) keys.push_back((random() % 7 << 32) | i);  // many alike
    std::shuffle(keys.begin(), keys.end(), random);
    BlockMemory memory(limit);
    HostBlock::run(kThreads, [&](const HostBlock& block) {
      BlockSelect<HostBlock> best(block, memory.candidates());
      for (size_t begin = 0; begin < keys.size(); begin += kThreads) {
        best.make_room(kThreads);
        const size_t i = begin + block.thread();
        if (i < keys.size() && keys[i] > best.floor()) best.add(keys[i], static_cast<uint32_t>(i));
      }
      best.finish_sorted();
    });
    std::vector<uint64_t> sorted = keys;
    std::sort(sorted.begin(), sorted.end(), std::greater<>());
    for (uint32_t i = 0; i < limit; ++i) {
      CHECK(memory.candidates().key[i] == sorted[i]);
      CHECK(keys[memory.candidates().node[i]] == sorted[i]);
    }
  }
}

TEST(shares_suit_the_device) {
  DeviceBeamStep step;
  step.dtype = DType::kBFloat16;
  const auto expect = [&step](uint32_t batch, uint32_t beams, uint32_t codes, bool cluster,
                              uint32_t shares) {
    step.batch = batch;
    step.beams = beams;
    step.codes = codes;
    plan_shares(132, true, &step);
    CHECK(step.cluster == cluster);
    CHECK_EQUAL(step.shares, shares);
  };
  expect(8, 256, 2048, true, 8);
  expect(64, 256, 2048, true, 2);
  expect(1, 1, 2048, true, 1);
  expect(8, 256, 8192, false, 16);
  expect(200, 1024, 8192, false, 1);
  plan_shares(108, false, &step);
  CHECK(!step.cluster);
}

TEST(a_device_refuses_what_it_does_not_compute) {
  const RandomCatalogue random = random_catalogue(3, kSizes, 100);
  const auto trie = SidTrie::build(random.input());
  Step step(1, trie->catalogue_view(), 1, 2, 9, 5, Normalizer::kLevel);
  step.input.num_beams = 4097;
  CHECK_THROWS(InvalidArgument, "at most 4096", device_step(step.input, step.output, nullptr));
  step.input.num_beams = 5;
  BeamStepOptions options;
  options.sibling_penalty = 0.5f;
  step.input.options = &options;
  CHECK_THROWS(InvalidArgument, "beam_widths alone", device_step(step.input, step.output, nullptr));
}

TEST(a_device_refuses_more_beams_than_its_shared_memory_holds) {
  DeviceBeamStep step;
  step.num_beams = 4096;
  check_shared_memory(step, 227 << 10);
  CHECK_THROWS(InvalidArgument, "at most 2750 with backend 'cuda' on this device",
               check_shared_memory(step, 99 << 10));
  for (step.num_beams = 1; step.num_beams <= 2750; ++step.num_beams) {
    check_shared_memory(step, 99 << 10);
  }
}
