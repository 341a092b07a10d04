#include "index/item_columns_builder.h"

#include <algorithm>
#include <atomic>
#include <limits>
#include <mutex>
#include <numeric>
#include <utility>

#include "core/error.h"
#include "cpu/thread_pool.h"
#include "index/item_columns_rules.h"

namespace onesearch {
namespace {

bool has_codes(ColumnKind kind) {
  return kind == ColumnKind::kCategory || kind == ColumnKind::kCategories;
}

CellType narrowest_integer(int64_t low, int64_t high) {
  if (low >= 0 && high <= 0xff) return CellType::kUInt8;
  if (low >= 0 && high <= 0xffff) return CellType::kUInt16;
  if (low >= 0 && high <= 0xffffffff) return CellType::kUInt32;
  if (low >= -0x80 && high <= 0x7f) return CellType::kInt8;
  if (low >= -0x8000 && high <= 0x7fff) return CellType::kInt16;
  if (low >= -0x80000000ll && high <= 0x7fffffff) return CellType::kInt32;
  return CellType::kInt64;
}

template <class T>
T* writable(const T* at) {
  return const_cast<T*>(at);
}

// Bit i of `words` is bit(i), for i in [0, n).
template <class Bit>
void write_bits(uint32_t n, uint64_t* words, Bit bit) {
  std::fill_n(words, (n + 63) / 64, 0);
  for (uint32_t i = 0; i < n; ++i) words[i / 64] |= uint64_t{bit(i)} << (i % 64);
}

}  // namespace

struct ColumnBuilder::Summary {
  explicit Summary(size_t num_codes) : used(num_codes) {}

  // From any thread.
  void add(const Cells& cells, uint32_t n, ColumnKind kind);

  std::mutex mutex;
  int64_t low = std::numeric_limits<int64_t>::max();
  int64_t high = std::numeric_limits<int64_t>::min();
  bool fits_float32 = true;
  bool has_missing = false;
  std::vector<std::atomic<uint8_t>> used;  // codes of the dictionary given
};

void ColumnBuilder::Summary::add(const Cells& cells, uint32_t n, ColumnKind kind) {
  bool missing = false;
  bool fits = true;
  int64_t least = std::numeric_limits<int64_t>::max();
  int64_t greatest = std::numeric_limits<int64_t>::min();
  for (uint32_t i = 0; i < n; ++i) {
    missing = missing || cells.missing[i];
    if (cells.missing[i]) continue;
    if (kind == ColumnKind::kReal) {
      fits = fits && static_cast<double>(static_cast<float>(cells.reals[i])) == cells.reals[i];
      continue;
    }
    least = std::min(least, cells.integers[i]);
    greatest = std::max(greatest, cells.integers[i]);
  }
  if (has_codes(kind) && least <= greatest) {
    if (least < 0 || greatest >= static_cast<int64_t>(used.size())) {
      throw InvalidArgument(complaint("ItemColumns.build", "codes", "indexes of the categories",
                                      std::to_string(least < 0 ? least : greatest)));
    }
    for (uint32_t i = 0; i < n; ++i) {
      if (!cells.missing[i]) used[cells.integers[i]].store(1, std::memory_order_relaxed);
    }
  }
  const std::lock_guard<std::mutex> lock(mutex);
  has_missing = has_missing || missing;
  fits_float32 = fits_float32 && fits;
  low = std::min(low, least);
  high = std::max(high, greatest);
}

ColumnBuilder::ColumnBuilder(std::string_view name, ColumnKind kind,
                             std::unique_ptr<CellReader> reader, const Dictionary& dictionary,
                             uint32_t num_items, const uint32_t* order)
    : name_(name), kind_(kind), reader_(std::move(reader)), num_items_(num_items), order_(order) {
  const bool lists = kind == ColumnKind::kCategories;
  Summary summary(lists ? dictionary.num_lists() : dictionary.texts.size());
  for_each_block([&](const Cells& cells, uint32_t, uint32_t n) { summary.add(cells, n, kind); });
  const std::vector<uint8_t> used(summary.used.begin(), summary.used.end());
  if (has_codes(kind))
    sorted_ = lists ? sort_lists(dictionary, used) : sort_texts(dictionary, used);
  describe(summary);
}

void ColumnBuilder::describe(const Summary& summary) {
  const Dictionary& dictionary = sorted_.dictionary;
  const bool may_miss = kind_ == ColumnKind::kBool || kind_ == ColumnKind::kInteger;
  entry_.kind = kind_;
  entry_.has_missing = summary.has_missing && may_miss;
  entry_.name_bytes = static_cast<uint32_t>(name_.size());
  entry_.num_categories = static_cast<uint32_t>(dictionary.texts.size());
  entry_.num_lists = static_cast<uint32_t>(dictionary.num_lists());
  for (const std::string_view text : dictionary.texts) entry_.text_bytes += text.size();
  entry_.num_list_values = dictionary.list_values.size();
  if (kind_ == ColumnKind::kBool) {
    entry_.type = CellType::kBit;
  } else if (kind_ == ColumnKind::kReal) {
    entry_.type = summary.fits_float32 ? CellType::kFloat32 : CellType::kFloat64;
  } else if (has_codes(kind_)) {
    entry_.type = narrowest_integer(0, int64_t{num_codes()} - (summary.has_missing ? 0 : 1));
  } else {
    // A cell that is missing holds 0.
    entry_.type =
        narrowest_integer(summary.has_missing ? std::min<int64_t>(summary.low, 0) : summary.low,
                          summary.has_missing ? std::max<int64_t>(summary.high, 0) : summary.high);
  }
}

// Calls visit(cells, position, n) for all positions, some at a time, in parallel.
template <class Visit>
void ColumnBuilder::for_each_block(Visit visit) const {
  parallel_for(num_chunks(num_items_), 1, [&](int64_t first, int64_t last) {
    Cells cells;
    uint32_t rows[Cells::kMax];
    const int64_t end = std::min<int64_t>(num_items_, last * ItemChunk::kBits);
    for (int64_t at = first * ItemChunk::kBits; at < end; at += Cells::kMax) {
      const auto position = static_cast<uint32_t>(at);
      const auto n = static_cast<uint32_t>(std::min<int64_t>(Cells::kMax, end - at));
      if (order_ == nullptr) std::iota(rows, rows + n, position);
      reader_->read(order_ == nullptr ? rows : order_ + position, n, &cells);
      visit(cells, position, n);
    }
  });
}

uint32_t ColumnBuilder::num_codes() const {
  return kind_ == ColumnKind::kCategories ? entry_.num_lists : entry_.num_categories;
}

void ColumnBuilder::write(const ColumnView& column) const {
  std::copy(name_.begin(), name_.end(), writable(column.name.data()));
  write_dictionary(column);
  for_each_block([&](const Cells& cells, uint32_t position, uint32_t n) {
    write_cells(column, cells, position, n);
  });
  parallel_for(num_chunks(num_items_), 1, [&](int64_t begin, int64_t end) {
    for (auto chunk = static_cast<uint32_t>(begin); chunk < end; ++chunk) {
      if (column.real_zones != nullptr) {
        writable(column.real_zones)[chunk] = real_zone(column, chunk);
      } else if (column.integer_zones != nullptr) {
        writable(column.integer_zones)[chunk] = integer_zone(column, chunk);
      }
    }
  });
}

void ColumnBuilder::write_cells(const ColumnView& column, const Cells& cells, uint32_t position,
                                uint32_t n) const {
  if (column.missing != nullptr) {
    write_bits(n, writable(column.missing) + position / 64,
               [&](uint32_t i) { return cells.missing[i]; });
  }
  const auto integer = [&](uint32_t i) -> int64_t {
    if (!has_codes(kind_)) return cells.missing[i] ? 0 : cells.integers[i];
    return cells.missing[i] ? num_codes() : sorted_.code_of[static_cast<size_t>(cells.integers[i])];
  };
  if (kind_ == ColumnKind::kBool) {
    write_bits(n, writable(static_cast<const uint64_t*>(column.values)) + position / 64,
               [&](uint32_t i) { return integer(i) != 0; });
  } else if (kind_ == ColumnKind::kReal) {
    visit_reals(column, [&](const auto* values) {
      auto* out = writable(values) + position;
      constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
      for (uint32_t i = 0; i < n; ++i) {
        out[i] =
            static_cast<std::decay_t<decltype(*out)>>(cells.missing[i] ? kNaN : cells.reals[i]);
      }
    });
  } else {
    visit_integers(column, [&](const auto* values) {
      auto* out = writable(values) + position;
      for (uint32_t i = 0; i < n; ++i)
        out[i] = static_cast<std::decay_t<decltype(*out)>>(integer(i));
    });
  }
}

void ColumnBuilder::write_dictionary(const ColumnView& column) const {
  if (!has_codes(kind_)) return;
  const Dictionary& dictionary = sorted_.dictionary;
  uint64_t* ends = writable(column.text_begin) + 1;
  char* text = writable(column.text);
  for (const std::string_view one : dictionary.texts) {
    text = std::copy(one.begin(), one.end(), text);
    *ends++ = static_cast<uint64_t>(text - column.text);
  }
  if (kind_ != ColumnKind::kCategories) return;
  std::copy(dictionary.list_begin.begin(), dictionary.list_begin.end(),
            writable(column.list_begin));
  std::copy(dictionary.list_values.begin(), dictionary.list_values.end(),
            writable(column.list_values));
}

}  // namespace onesearch
