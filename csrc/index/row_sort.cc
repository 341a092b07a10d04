#include "index/row_sort.h"

#include <algorithm>
#include <atomic>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/stream.h"
#include "cpu/thread_pool.h"

namespace onesearch {
namespace {

constexpr int64_t kBlockRows = 1024;
constexpr int64_t kLineRows = 8;
// Beyond this a range is cut again: its two buffers of 8 bytes a row would leave the cache.
constexpr int64_t kLeafRows = int64_t{1} << 17;
constexpr int kMaxCutBits = 11;  // 2048 lines of 96 bytes are kept in the cache while cutting
constexpr int kMaxDigitBits = 12;

int bits_for(int64_t count) {
  int bits = 1;
  while ((int64_t{1} << bits) < count) ++bits;
  return bits;
}

// Someone else writes to what is sorted; without this the places of others would be written over.
[[noreturn]] void reject_changed_keys() {
  throw InvalidArgument(complaint("sort_rows", "keys", "arrays that stay as they are",
                                  "arrays that changed while they were read"));
}

template <class Key>
struct Records {
  Key* keys = nullptr;
  uint32_t* rows = nullptr;
};

// Places [begin, end) of the order, whose keys agree but for their low `bits` bits.
struct Range {
  int64_t begin;
  int64_t end;
  int bits;

  int64_t size() const { return end - begin; }
};

template <class Key>
struct Block {
  Key keys[kBlockRows];
  uint32_t rows[kBlockRows];
};

// Reads n <= kBlockRows records from `first` on.
template <class Key>
using ReadBlock = std::function<void(int64_t first, int64_t n, Block<Key>* block)>;

// Cuts a range by the next `cut_bits` bits of its keys.
template <class Key>
class Distribution {
 public:
  Distribution(const Range& range, int cut_bits, const ReadBlock<Key>& read)
      : range_(range),
        shift_(range.bits - cut_bits),
        num_parts_(int64_t{1} << cut_bits),
        num_slices_(std::min<int64_t>(num_threads(), range.size() / kBlockRows + 1)),
        read_(read),
        next_(static_cast<size_t>(num_slices_ * num_parts_)),
        end_(next_.size()) {
    for_each_slice([this](int64_t slice) { count(slice); });
    place();
  }

  // The parts that hold records, in order.
  const std::vector<Range>& parts() const { return parts_; }

  // Moves every record to its part of `to`.
  void scatter(const Records<Key>& to) {
    for_each_slice([&](int64_t slice) { scatter(slice, to); });
  }

 private:
  // The records of a part that lie in one line of the target, gathered until the line is full.
  struct alignas(32) Line {
    Key keys[kLineRows];
    uint32_t rows[kLineRows];
  };

  template <class Body>
  void for_each_slice(const Body& body) {
    parallel_for(num_slices_, 1, [&](int64_t begin, int64_t end) {
      for (int64_t slice = begin; slice < end; ++slice) body(slice);
    });
  }

  template <class Take>
  void for_each_block(int64_t slice, const Take& take) {
    Block<Key> block;
    const int64_t end = range_.begin + range_.size() * (slice + 1) / num_slices_;
    for (int64_t at = range_.begin + range_.size() * slice / num_slices_; at < end;
         at += kBlockRows) {
      const int64_t n = std::min(kBlockRows, end - at);
      read_(at, n, &block);
      take(block, n);
    }
  }

  int64_t part_of(Key key) const { return static_cast<int64_t>(key >> shift_) & (num_parts_ - 1); }

  void count(int64_t slice) {
    uint32_t* counts = next_.data() + slice * num_parts_;
    for_each_block(slice, [&](const Block<Key>& block, int64_t n) {
      for (int64_t i = 0; i < n; ++i) ++counts[part_of(block.keys[i])];
    });
  }

  // From counts to the place of the first record of each part and slice.
  void place() {
    int64_t at = range_.begin;
    for (int64_t part = 0; part < num_parts_; ++part) {
      const int64_t begin = at;
      for (int64_t slice = 0; slice < num_slices_; ++slice) {
        const int64_t i = slice * num_parts_ + part;
        at += std::exchange(next_[i], static_cast<uint32_t>(at));
        end_[i] = static_cast<uint32_t>(at);
      }
      if (at > begin) parts_.push_back({begin, at, shift_});
    }
  }

  void scatter(int64_t slice, const Records<Key>& to) {
    uint32_t* next = next_.data() + slice * num_parts_;
    const uint32_t* end = end_.data() + slice * num_parts_;
    const std::vector<uint32_t> begin(next, next + num_parts_);
    std::vector<Line> lines(static_cast<size_t>(num_parts_));
    const auto flush_part = [&](int64_t part) {
      if (next[part] > end[part]) reject_changed_keys();
      flush(lines[part], begin[part], next[part], to);
    };
    for_each_block(slice, [&](const Block<Key>& block, int64_t n) {
      for (int64_t i = 0; i < n; ++i) {
        const int64_t part = part_of(block.keys[i]);
        const uint32_t at = next[part]++;
        lines[part].keys[at % kLineRows] = block.keys[i];
        lines[part].rows[at % kLineRows] = block.rows[i];
        if (at % kLineRows == kLineRows - 1) flush_part(part);
      }
    });
    for (int64_t part = 0; part < num_parts_; ++part) {
      if (next[part] % kLineRows != 0) flush_part(part);
    }
    stream_fence();
  }

  // Writes the records of a line that end at `end`; those before `begin` are another slice's.
  static void flush(const Line& line, uint32_t begin, uint32_t end, const Records<Key>& to) {
    const uint32_t first = (end - 1) / kLineRows * kLineRows;
    if (end == first + kLineRows && first >= begin) {
      stream_copy(to.keys + first, line.keys, sizeof line.keys);
      stream_copy(to.rows + first, line.rows, sizeof line.rows);
      return;
    }
    for (uint32_t at = std::max(first, begin); at < end; ++at) {
      to.keys[at] = line.keys[at % kLineRows];
      to.rows[at] = line.rows[at % kLineRows];
    }
  }

  Range range_;
  int shift_;
  int64_t num_parts_;
  int64_t num_slices_;
  const ReadBlock<Key>& read_;
  std::vector<uint32_t> next_;  // [slice][part] counts, then places
  std::vector<uint32_t> end_;   // [slice][part]
  std::vector<Range> parts_;
};

// Sorts ranges inside the cache, one after another, digit by digit from the last.
template <class Key>
class LeafSort {
 public:
  explicit LeafSort(int64_t max_rows)
      : packed_(static_cast<size_t>(max_rows)),
        other_(static_cast<size_t>(max_rows)),
        keys_(static_cast<size_t>(max_rows)),
        rows_(static_cast<size_t>(max_rows)) {}

  // `from` and `to` may be the same.
  void sort(const Range& range, const Records<Key>& from, const Records<Key>& to) {
    const auto n = static_cast<size_t>(range.size());
    std::copy_n(from.keys + range.begin, n, keys_.begin());
    std::copy_n(from.rows + range.begin, n, rows_.begin());
    order(n, range.bits);
    const uint64_t index_mask = (uint64_t{1} << bits_for(range.size())) - 1;
    for (size_t i = 0; i < n; ++i) {
      const uint64_t index = packed_[i] & index_mask;
      to.keys[range.begin + i] = keys_[index];
      to.rows[range.begin + i] = rows_[index];
    }
  }

 private:
  // Leaves the records' indices in the low bits of packed_, in the order of their keys. Above them
  // as many bits of the key are sorted at a time as a word holds.
  void order(size_t n, int key_bits) {
    const int index_bits = bits_for(static_cast<int64_t>(n));
    const int word_bits = 64 - index_bits;
    const uint64_t index_mask = (uint64_t{1} << index_bits) - 1;
    for (size_t i = 0; i < n; ++i) packed_[i] = static_cast<uint64_t>(keys_[i]) << index_bits | i;
    sort_digits(n, index_bits, std::min(key_bits, word_bits));
    for (int done = word_bits; done < key_bits; done += word_bits) {
      for (size_t i = 0; i < n; ++i) {
        const uint64_t index = packed_[i] & index_mask;
        packed_[i] = static_cast<uint64_t>(keys_[index] >> done) << index_bits | index;
      }
      sort_digits(n, index_bits, std::min(key_bits - done, word_bits));
    }
  }

  // A stable sort of packed_ by `bits` bits from `shift` on. Digits in which all agree are skipped.
  void sort_digits(size_t n, int shift, int bits) {
    const int max_digit = std::clamp(shift - 3, 6, kMaxDigitBits);
    const int num_digits = (bits + max_digit - 1) / max_digit;
    const int digit_bits = (bits + num_digits - 1) / num_digits;
    const uint64_t mask = (uint64_t{1} << digit_bits) - 1;
    counts_.assign(static_cast<size_t>(num_digits) << digit_bits, 0);
    for (size_t i = 0; i < n; ++i) {
      uint64_t rest = packed_[i] >> shift;
      for (int digit = 0; digit < num_digits; ++digit, rest >>= digit_bits) {
        ++counts_[static_cast<size_t>(digit) << digit_bits | (rest & mask)];
      }
    }
    for (int digit = 0; digit < num_digits; ++digit, shift += digit_bits) {
      uint32_t* next = counts_.data() + (static_cast<size_t>(digit) << digit_bits);
      if (next[packed_[0] >> shift & mask] == n) continue;
      uint32_t total = 0;
      for (uint64_t value = 0; value <= mask; ++value) total += std::exchange(next[value], total);
      for (size_t i = 0; i < n; ++i) other_[next[packed_[i] >> shift & mask]++] = packed_[i];
      packed_.swap(other_);
    }
  }

  std::vector<uint64_t> packed_;
  std::vector<uint64_t> other_;
  std::vector<Key> keys_;
  std::vector<uint32_t> rows_;
  std::vector<uint32_t> counts_;  // [digit][value]
};

// Distributes rows until every range is a leaf, then sorts the leaves.
template <class Key>
class RowSort {
 public:
  RowSort(int64_t num_rows, const Records<Key>& target) : num_rows_(num_rows), target_(target) {}

  void sort(int bits, const ReadKeys<Key>& read_keys) {
    const Range all{0, num_rows_, bits};
    const ReadBlock<Key> read = [&](int64_t first, int64_t n, Block<Key>* block) {
      read_keys(first, n, block->keys);
      for (int64_t i = 0; i < n; ++i) block->rows[i] = static_cast<uint32_t>(first + i);
    };
    Distribution<Key> distribution(all, cut_bits(all), read);
    distribution.scatter(target_);
    for (const Range& part : distribution.parts()) cut(part, false);
    sort_leaves();
  }

 private:
  struct Leaf {
    Range range;
    bool is_aside;  // its records lie in aside_, else in target_
  };

  static int cut_bits(const Range& range) {
    constexpr int kLeafBits = 13;
    return std::clamp(bits_for(range.size()) - kLeafBits, 1, std::min(kMaxCutBits, range.bits));
  }

  void cut(const Range& range, bool is_aside) {
    if (range.size() <= kLeafRows || range.bits == 0) {
      leaves_.push_back({range, is_aside});
      return;
    }
    const Records<Key> from = is_aside ? aside() : target_;
    const ReadBlock<Key> read = [&from](int64_t first, int64_t n, Block<Key>* block) {
      std::copy_n(from.keys + first, n, block->keys);
      std::copy_n(from.rows + first, n, block->rows);
    };
    Distribution<Key> distribution(range, cut_bits(range), read);
    const bool moves = distribution.parts().size() > 1;
    if (moves) distribution.scatter(is_aside ? target_ : aside());
    for (const Range& part : distribution.parts()) cut(part, is_aside != moves);
  }

  void sort_leaves() {
    int64_t max_rows = 0;
    for (const Leaf& leaf : leaves_) {
      if (leaf.range.bits > 0) max_rows = std::max(max_rows, leaf.range.size());
    }
    std::atomic<size_t> next{0};
    parallel_for(num_threads(), 1, [&](int64_t, int64_t) {
      LeafSort<Key> sorter(max_rows);
      for (size_t i = next++; i < leaves_.size(); i = next++) sort_leaf(leaves_[i], &sorter);
    });
  }

  void sort_leaf(const Leaf& leaf, LeafSort<Key>* sorter) {
    const Range& range = leaf.range;
    const Records<Key>& from = leaf.is_aside ? aside_ : target_;
    if (range.bits > 0) {
      sorter->sort(range, from, target_);
    } else if (leaf.is_aside) {
      std::copy(from.keys + range.begin, from.keys + range.end, target_.keys + range.begin);
      std::copy(from.rows + range.begin, from.rows + range.end, target_.rows + range.begin);
    }
  }

  // As many records again, made only where ranges are cut twice: untouched memory costs nothing.
  const Records<Key>& aside() {
    if (aside_.keys == nullptr) {
      const auto n = static_cast<size_t>((num_rows_ + kLineRows - 1) / kLineRows * kLineRows);
      aside_memory_ = Bytes::allocate(n * (sizeof(Key) + sizeof(uint32_t)));
      aside_.keys = reinterpret_cast<Key*>(aside_memory_.data());
      aside_.rows = reinterpret_cast<uint32_t*>(aside_.keys + n);
    }
    return aside_;
  }

  int64_t num_rows_;
  Records<Key> target_;
  Records<Key> aside_;
  Bytes aside_memory_;
  std::vector<Leaf> leaves_;
};

}  // namespace

template <class Key>
void sort_rows(int bits, const ReadKeys<Key>& read_keys, RowTable<Key>* table) {
  RowSort<Key>(table->size(), {table->keys(), table->rows()}).sort(bits, read_keys);
  table->mark_begin();
}

template void sort_rows(int bits, const ReadKeys<uint64_t>&, RowTable<uint64_t>*);
template void sort_rows(int bits, const ReadKeys<WideKey>&, RowTable<WideKey>*);

}  // namespace onesearch
