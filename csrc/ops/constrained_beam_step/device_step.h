// constrained_beam_step as blocks of threads compute it on a GPU: what crosses to the device, and
// the algorithm of a block, which the tests run on the host as well.
//
// The beams of a request are cut into shares, a block each. A warp reads a row, takes its
// log-sum-exp and offers its children; the block keeps the best num_beams + 1 that its warps offer.
// The shares of a request are then merged by one block: keys are unique and the best of them are
// one set, so the bits do not depend on who was faster.
#pragma once

#include <cstdint>

#include "core/block_select.h"
#include "core/dtype.h"
#include "core/ranking.h"
#include "index/allowed_nodes.h"
#include "index/child_union.h"
#include "ops/constrained_beam_step/constrained_beam_step.h"

namespace onesearch {

// What a request searches: views of device memory, in device memory. A search that changes them
// between two steps needs no other launch, so that a graph survives updates of the index.
struct BeamStepSlot {
  CatalogueView catalogue;
  CatalogueFilterView filter;
};

// A matrix by its strides.
template <class T>
struct DeviceMatrix {
  T* data = nullptr;
  int64_t row = 0;
  int64_t column = 0;

  ONESEARCH_HD T* at(int64_t i, int64_t j) const { return data + i * row + j * column; }
};

// The best candidates of every share, in any order.
struct ShareLists {
  uint64_t* key = nullptr;   // [batch, shares, num_beams + 1]
  uint32_t* node = nullptr;  // [batch, shares, num_beams + 1]
  uint32_t* size = nullptr;  // [batch, shares]
  uint32_t* lost = nullptr;  // [batch, shares] ordered bits of the best dead row's beam score, or 0
};

// One of them, wherever it lies.
struct ShareList {
  const uint64_t* key;
  const uint32_t* node;
  uint32_t size;
  uint32_t lost;

  // 0, which is no key, past the end; i below the limit, for which every list has memory. The read
  // does not hang on the size, so that both are one wait for memory.
  ONESEARCH_HD uint64_t key_at(uint32_t i) const {
    const uint64_t found = key[i];
    return i < size ? found : 0;
  }
};

struct DeviceBeamStep {
  static constexpr uint32_t kMostBeams = 4096;  // what shared memory holds

  const void* logits = nullptr;
  int64_t logits_strides[3] = {};
  DType dtype = DType::kFloat32;
  DeviceMatrix<const int32_t> node;
  DeviceMatrix<const float> beam_scores;
  DeviceMatrix<const float> log_normalizer;
  const BeamStepSlot* slots = nullptr;   // [batch]
  const int32_t* beam_widths = nullptr;  // [batch], or null
  int64_t beam_widths_stride = 0;
  uint32_t batch = 0;
  uint32_t beams = 0;
  uint32_t codes = 0;
  uint32_t num_beams = 0;
  int level = 0;
  Normalizer normalizer = Normalizer::kLevel;
  uint32_t offered = 0;  // candidates of a block between two looks whether it must cut
  uint32_t shares = 1;
  bool cluster = false;  // the shares of a request are one cluster of blocks; no lists in memory
  ShareLists lists;      // without clusters

  DeviceMatrix<float> scores;
  DeviceMatrix<int32_t> parent_beam;
  DeviceMatrix<int32_t> tokens;
  DeviceMatrix<int32_t> node_out;
  int32_t* count = nullptr;
  int64_t count_stride = 0;
  float* best_dropped = nullptr;
  int64_t best_dropped_stride = 0;

  // One more than survive: the best that does not is part of the answer.
  ONESEARCH_HD uint32_t limit() const { return num_beams + 1; }

  ONESEARCH_HD ShareList list(uint32_t request, uint32_t share) const {
    const int64_t at = int64_t{request} * shares + share;
    return {lists.key + at * limit(), lists.node + at * limit(), lists.size[at], lists.lost[at]};
  }
};

// Everything but shares and lists. Throws InvalidArgument for what a GPU does not compute; the rest
// is as check.h wants it. `slots` [batch] lie on the device.
DeviceBeamStep device_step(const BeamStepInput& input, const BeamStepOutput& output,
                           const BeamStepSlot* slots);

// How the requests are cut, for a device of so many multiprocessors. Where a request's logits are
// small, one kernel with a cluster of up to eight blocks a request: launches then take longer than
// the work. Else as many blocks as there is room for, merged by a second kernel.
void plan_shares(uint32_t num_sms, bool has_clusters, DeviceBeamStep* step);

// Throws InvalidArgument where a block's candidates do not fit `bytes` of shared memory.
void check_shared_memory(const DeviceBeamStep& step, int64_t bytes);

// Memory for the lists of shares; 8-byte aligned.
uint64_t list_bytes(const DeviceBeamStep& step);
void place_lists(void* memory, DeviceBeamStep* step);

constexpr uint32_t kStepThreads = 512;
// Reads of a thread that are under way together: a look costs three barriers and two or three waits
// for memory, so a block offers as much as its shared memory takes.
constexpr uint32_t kStepReads = 8;

// Candidates that a block of a GPU offers between two looks: fewer where it keeps many.
ONESEARCH_HD uint32_t step_offered(uint32_t limit) {
  return limit <= 1536 ? kStepThreads * kStepReads : 2 * kStepThreads;
}

// Candidates that a block has room for: twice what it keeps, so that it seldom cuts, and the next.
ONESEARCH_HD uint32_t step_capacity(uint32_t limit, uint32_t offered) {
  return limit + (limit > 1024 ? limit : 1024) + offered;
}

// Blocks that merge the lists of a request in memory, as one cluster: so many that each has room
// for its part, which is then cut but once. The first then merges what the others found.
ONESEARCH_HD uint32_t merging_blocks(const DeviceBeamStep& step, bool has_clusters) {
  constexpr uint32_t kMostBlocksOfCluster = 8;
  if (!has_clusters) return 1;
  const uint32_t capacity = step_capacity(step.limit(), step.offered);
  uint32_t blocks = 1;
  while (blocks < kMostBlocksOfCluster && 2 * blocks <= step.shares &&
         step.shares / blocks * step.limit() > capacity) {
    blocks *= 2;
  }
  return blocks;
}

// Sixteen bytes of a row.
template <class T>
struct alignas(16) RowPacket {
  static constexpr uint32_t kSize = 16 / sizeof(T);
  T at[kSize];
};

ONESEARCH_HD bool is_finite(float x) { return (bits_from_float(x) & 0x7f800000u) != 0x7f800000u; }

// A running log-sum-exp. NaN and +inf poison it for good: both leave NaN in the sum.
struct RunningSum {
  float maximum;
  float total;

  ONESEARCH_HD static float minus_infinity() { return float_from_bits(0xff800000u); }
  ONESEARCH_HD static RunningSum empty() { return {minus_infinity(), 0.0f}; }

  // So that -inf less -inf is never taken.
  ONESEARCH_HD static float shift_of(float maximum) {
    return maximum == minus_infinity() ? 0.0f : maximum;
  }

  template <class Block, uint32_t n>
  ONESEARCH_HD void add(const float (&x)[n]) {
    float higher = maximum;
    for (uint32_t i = 0; i < n; ++i) higher = x[i] > higher ? x[i] : higher;
    const float shift = shift_of(higher);
    total *= Block::exp(maximum - shift);
    for (uint32_t i = 0; i < n; ++i) total += Block::exp(x[i] - shift);
    maximum = higher;
  }

  template <class Block>
  ONESEARCH_HD float of_warp(const Block& block) const {
    const float top = block.max_of_lanes(maximum);
    const float shift = shift_of(top);
    const float sum = block.sum_of_lanes(total * Block::exp(maximum - shift));
    return top + Block::log(sum);
  }
};

template <class Block, class T>
class BlockStep {
 public:
  ONESEARCH_HD BlockStep(const Block& block, const DeviceBeamStep& step, uint32_t request)
      : block_(block),
        step_(step),
        request_(request),
        catalogue_(step.slots[request].catalogue),
        live_(catalogue_, nullptr),
        allowed_(catalogue_, &step.slots[request].filter) {}

  // Offers the children of the beams share, share + shares, share + 2 shares, ... Where there are
  // fewer than warps, as at the root, several take one row, each its own chunks of the children.
  ONESEARCH_HD void walk(uint32_t share, BlockSelect<Block>* best) const {
    const uint32_t rows = (step_.beams + step_.shares - 1 - share) / step_.shares;
    const uint32_t ways = rows == 0 || rows > block_.warps() ? 1 : block_.warps() / rows;
    const uint32_t chunk = step_.offered / block_.warps();
    const uint32_t begin = block_.warp() % ways * chunk;
    uint32_t beam = share + block_.warp() / ways * step_.shares;
    Row row = read(beam, best);
    uint32_t offered = begin;
    bool busy = true;
    while (block_.any(busy)) {
      best->make_room(step_.offered);
      while (offered >= row.size && beam < step_.beams) {
        beam += block_.warps() / ways * step_.shares;
        row = read(beam, best);
        offered = begin;
      }
      offer(row, beam, offered, chunk, best);
      offered += ways * chunk;
      busy = offered < row.size || beam < step_.beams;
    }
  }

  // Adds `count` lists from the first on: list_of(i) is the keys, nodes and size of one.
  template <class ListOf>
  ONESEARCH_HD void merge(uint32_t first, uint32_t count, const ListOf& list_of,
                          BlockSelect<Block>* best) const {
    const uint32_t limit = step_.limit();
    const uint32_t total = count * limit;
    for (uint32_t list = block_.thread(); list < count; list += block_.threads()) {
      best->raise_bound(list_of(first + list).lost);
    }
    for (uint32_t begin = 0; begin < total; begin += step_.offered) {
      const uint32_t left = total - begin;
      const uint32_t most = left < step_.offered ? left : step_.offered;
      best->make_room(most);
      const uint32_t end = begin + most;
      for (uint32_t i = begin + block_.thread(); i < end; i += kStepReads * block_.threads()) {
        uint64_t key[kStepReads];
        ONESEARCH_UNROLL
        for (uint32_t read = 0; read < kStepReads; ++read) {
          const uint32_t at = i + read * block_.threads();
          key[read] = at < end ? list_of(first + at / limit).key_at(at % limit) : 0;
        }
        ONESEARCH_UNROLL
        for (uint32_t read = 0; read < kStepReads; ++read) {
          const uint32_t at = i + read * block_.threads();
          if (key[read] <= best->floor()) continue;
          best->add(key[read], list_of(first + at / limit).node[at % limit]);
        }
      }
    }
  }

  // Writes the survivors, best first.
  ONESEARCH_HD void write(BlockSelect<Block>* best) const {
    const uint32_t size = best->finish_sorted();
    const uint32_t width = own_width();
    const uint32_t count = size < width ? size : width;
    const BlockCandidates& all = best->all();
    for (uint32_t i = block_.thread(); i < step_.num_beams; i += block_.threads()) {
      const bool alive = i < count;
      const uint64_t key = alive ? all.key[i] : 0;
      *step_.scores.at(request_, i) = alive ? score_of(key) : RunningSum::minus_infinity();
      *step_.parent_beam.at(request_, i) = alive ? static_cast<int32_t>(parent_of(key)) : -1;
      *step_.tokens.at(request_, i) = alive ? static_cast<int32_t>(token_of(key)) : -1;
      *step_.node_out.at(request_, i) = alive ? static_cast<int32_t>(all.node[i]) : -1;
    }
    if (block_.thread() != 0) return;
    step_.count[request_ * step_.count_stride] = static_cast<int32_t>(count);
    const uint64_t lost = uint64_t{best->bound()} << 32;
    const uint64_t next = count < size ? all.key[count] : 0;
    const uint64_t dropped = next > lost ? next : lost;
    step_.best_dropped[request_ * step_.best_dropped_stride] =
        dropped == 0 ? RunningSum::minus_infinity() : score_of(dropped);
  }

 private:
  // A beam's row and children; size 0 where there are none to offer.
  struct Row {
    const T* logits;
    float beam_score;
    float normalizer;
    ChildUnion children;
    uint32_t size;
  };

  // The most beams of this request. The host cannot check what lies on the device.
  ONESEARCH_HD uint32_t own_width() const {
    if (step_.beam_widths == nullptr) return step_.num_beams;
    const int64_t width = step_.beam_widths[request_ * step_.beam_widths_stride];
    if (width < 0) return 0;
    return width < step_.num_beams ? static_cast<uint32_t>(width) : step_.num_beams;
  }

  ONESEARCH_HD float logit(const T* row, uint32_t token) const {
    return to_float(row[token * step_.logits_strides[2]]);
  }

  ONESEARCH_HD Row read(uint32_t beam, BlockSelect<Block>* best) const {
    const bool exists = beam < step_.beams;
    const int64_t node = exists ? *step_.node.at(request_, beam) : -1;
    Row row{static_cast<const T*>(step_.logits) + request_ * step_.logits_strides[0] +
                (exists ? beam : 0) * step_.logits_strides[1],
            exists ? *step_.beam_scores.at(request_, beam) : 0.0f, 0.0f,
            ChildUnion(catalogue_, step_.level, node), 0};
    if (row.children.size() == 0 || !is_finite(row.beam_score)) return row;
    row.normalizer = normalizer_of(row, beam);
    if (is_finite(row.normalizer)) {
      row.size = row.children.size();
    } else if (allowed_.is_everything() || allowed_.any(step_.level, node)) {
      best->raise_bound(ordered_bits(row.beam_score));  // no candidate below it scores more
    }
    return row;
  }

  ONESEARCH_HD float normalizer_of(const Row& row, uint32_t beam) const {
    if (step_.normalizer == Normalizer::kVocab) return *step_.log_normalizer.at(request_, beam);
    const float whole = log_sum_exp_of(row.logits);
    // NaN and +inf anywhere in the row kill the beam, whatever it is normalised by.
    const bool poisoned = !is_finite(whole) && whole != RunningSum::minus_infinity();
    if (poisoned || step_.normalizer == Normalizer::kLevel) return whole;
    return step_.normalizer == Normalizer::kNone ? 0.0f : log_sum_exp_of(row.logits, row.children);
  }

  ONESEARCH_HD float log_sum_exp_of(const T* row) const {
    constexpr uint32_t kSize = RowPacket<T>::kSize;
    const bool packed = step_.logits_strides[2] == 1 && reinterpret_cast<uintptr_t>(row) % 16 == 0;
    const uint32_t packets = packed ? step_.codes / kSize : 0;
    RunningSum sum = RunningSum::empty();
    const uint32_t next = add_packets<4>(row, block_.lane(), packets, &sum);
    add_packets<1>(row, next, packets, &sum);
    for (uint32_t i = packets * kSize + block_.lane(); i < step_.codes; i += block_.lanes()) {
      const float x[1] = {logit(row, i)};
      sum.template add<Block>(x);
    }
    return sum.of_warp(block_);
  }

  // Adds a lane's packets from `first` on, as long as `kAtOnce` are left, whose reads are under way
  // together: a row is read in two or three waits for memory. Returns the first that is left.
  template <uint32_t kAtOnce>
  ONESEARCH_HD uint32_t add_packets(const T* row, uint32_t first, uint32_t packets,
                                    RunningSum* sum) const {
    constexpr uint32_t kSize = RowPacket<T>::kSize;
    const auto* const all = reinterpret_cast<const RowPacket<T>*>(row);
    uint32_t i = first;
    for (; i + (kAtOnce - 1) * block_.lanes() < packets; i += kAtOnce * block_.lanes()) {
      float x[kAtOnce * kSize];
      for (uint32_t part = 0; part < kAtOnce; ++part) {
        const RowPacket<T> packet = all[i + part * block_.lanes()];
        for (uint32_t j = 0; j < kSize; ++j) x[part * kSize + j] = to_float(packet.at[j]);
      }
      sum->template add<Block>(x);
    }
    return i;
  }

  // Over the children with a live item below, before filters.
  ONESEARCH_HD float log_sum_exp_of(const T* row, const ChildUnion& children) const {
    RunningSum sum = RunningSum::empty();
    for (uint32_t i = block_.lane(); i < children.size(); i += block_.lanes()) {
      uint32_t token, node;
      if (!children.child(i, &token, &node)) continue;
      if (!live_.is_everything() && !live_.any(step_.level + 1, node)) continue;
      const float x[1] = {logit(row, token)};
      sum.template add<Block>(x);
    }
    return sum.of_warp(block_);
  }

  // `chunk` children from `first` on.
  ONESEARCH_HD void offer(const Row& row, uint32_t beam, uint32_t first, uint32_t chunk,
                          BlockSelect<Block>* best) const {
    const uint32_t last = first + chunk < row.size ? first + chunk : row.size;
    for (uint32_t i = first + block_.lane(); i < last; i += kStepReads * block_.lanes()) {
      for (uint32_t left = promising(row, i, last, best->floor()); left != 0; left &= left - 1) {
        offer(row, beam, i + lowest_bit(left) * block_.lanes(), best);
      }
    }
  }

  // Which of a lane's children i, i + lanes, ... below `last` may be above the floor, as bits. All
  // reads are under way together; the few that it names are then read again.
  ONESEARCH_HD uint32_t promising(const Row& row, uint32_t i, uint32_t last, uint64_t floor) const {
    uint32_t token[kStepReads];
    T logits[kStepReads];
    ONESEARCH_UNROLL
    for (uint32_t read = 0; read < kStepReads; ++read) {
      const uint32_t at = i + read * block_.lanes();
      token[read] = row.children.token(at < last ? at : i);
    }
    ONESEARCH_UNROLL
    for (uint32_t read = 0; read < kStepReads; ++read) {
      const bool sound = token[read] < step_.codes;
      logits[read] = row.logits[(sound ? token[read] : 0) * step_.logits_strides[2]];
    }
    const float least = score_of(floor);  // NaN, which is above nothing, before the first cut
    uint32_t found = 0;
    ONESEARCH_UNROLL
    for (uint32_t read = 0; read < kStepReads; ++read) {
      const float score = row.beam_score + (to_float(logits[read]) - row.normalizer);
      const bool exists = i + read * block_.lanes() < last;
      found |= exists && !(score < least) ? 1u << read : 0;
    }
    return found;
  }

  ONESEARCH_HD void offer(const Row& row, uint32_t beam, uint32_t i,
                          BlockSelect<Block>* best) const {
    uint32_t token, node;
    if (!row.children.child(i, &token, &node)) return;
    const float score = row.beam_score + (logit(row.logits, token) - row.normalizer);
    if (!is_finite(score)) return;
    const uint64_t key = candidate_key(score, beam, token);
    if (key <= best->floor()) return;
    if (!allowed_.is_everything() && !allowed_.any(step_.level + 1, node)) return;
    best->add(key, node);
  }

  const Block& block_;
  const DeviceBeamStep& step_;
  uint32_t request_;
  const CatalogueView& catalogue_;
  AllowedNodes live_;
  AllowedNodes allowed_;
};

}  // namespace onesearch
