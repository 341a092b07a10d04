#include "index/update.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>

#include "core/error.h"

namespace onesearch {
namespace {

// Arrays one after the other, each padded to a multiple of 8 bytes.
class PayloadWriter {
 public:
  template <class T>
  void add(const T* values, size_t n) {
    const size_t begin = bytes_.size();
    bytes_.resize(begin + (n * sizeof(T) + 7) / 8 * 8);
    if (n > 0) std::memcpy(bytes_.data() + begin, values, n * sizeof(T));
  }

  void add(uint64_t value) { add(&value, 1); }

  std::vector<unsigned char> take() { return std::move(bytes_); }

 private:
  std::vector<unsigned char> bytes_;
};

class PayloadReader {
 public:
  explicit PayloadReader(const JournalRecord& record)
      : version_(record.version), at_(record.payload), rest_(record.payload_bytes) {}

  template <class T>
  std::vector<T> take(uint64_t n) {
    if (n > rest_ / sizeof(T)) reject();
    const size_t bytes = (n * sizeof(T) + 7) / 8 * 8;
    if (bytes > rest_) reject();
    std::vector<T> values(n);
    if (n > 0) std::memcpy(values.data(), at_, n * sizeof(T));
    at_ += bytes;
    rest_ -= bytes;
    return values;
  }

  uint64_t take_number() { return take<uint64_t>(1)[0]; }

  void require_end() const {
    if (rest_ != 0) reject();
  }

  [[noreturn]] void reject() const {
    throw StoreFormatError(complaint("LiveStore.open", "record", "a payload of its kind",
                                     "another at version " + std::to_string(version_)));
  }

 private:
  uint64_t version_;
  const unsigned char* at_;
  size_t rest_;
};

// values: [rows, width], or none at all.
template <class T>
void keep_rows(std::vector<T>* values, const std::vector<bool>& kept, size_t width) {
  if (values->empty()) return;
  size_t end = 0;
  for (size_t row = 0; row < kept.size(); ++row) {
    if (!kept[row]) continue;
    std::copy_n(values->begin() + row * width, width, values->begin() + end);
    end += width;
  }
  values->resize(end);
}

void check_ids(const Update& update) {
  std::vector<int64_t> ids = update.ids;
  std::sort(ids.begin(), ids.end());
  if (!ids.empty() && ids.front() < 0) {
    throw InvalidArgument(complaint(name_of(update.kind), "item_ids", "ids of at least 0",
                                    std::to_string(ids.front())));
  }
  const auto twice = std::adjacent_find(ids.begin(), ids.end());
  if (twice == ids.end()) return;
  throw InvalidArgument(complaint(name_of(update.kind), "item_ids", "distinct ids",
                                  std::to_string(*twice) + " twice"));
}

// `index` counts through codes [n, num_levels].
void check_code(const Update& update, const SidTrieView& base, size_t index, int64_t code) {
  const size_t level = index % static_cast<size_t>(base.num_levels);
  // A negative code becomes huge, so one comparison checks both ends.
  if (static_cast<uint64_t>(code) < base.level_sizes[level]) return;
  const size_t row = index / static_cast<size_t>(base.num_levels);
  throw InvalidArgument(complaint(name_of(update.kind), "codes",
                                  "integers in [0, " + std::to_string(base.level_sizes[level]) +
                                      ") at level " + std::to_string(level),
                                  std::to_string(code) + " at row " + std::to_string(row),
                                  "codes are local to their level"));
}

// `held` has the store's columns; null: it has none.
void check_columns(const Update& update, const ItemColumns* held) {
  const auto reject = [&update](std::string_view name, const std::string& expected,
                                const std::string& got) {
    throw InvalidArgument(
        complaint(name_of(update.kind), "columns[" + std::string(name) + "]", expected, got));
  };
  for (const ColumnView& column : update.columns->columns()) {
    const ColumnView* const known = held == nullptr ? nullptr : held->find(column.name);
    if (known == nullptr) reject(column.name, "a column that the store was created with", "none");
    if (known->kind != column.kind) {
      reject(column.name, column_kind_name(known->kind), column_kind_name(column.kind));
    }
  }
}

bool has_columns(RecordKind kind) {
  return kind == RecordKind::kInsert || kind == RecordKind::kUpdateAttributes;
}

bool has_scores(RecordKind kind) {
  return kind == RecordKind::kInsert || kind == RecordKind::kUpdateScores;
}

}  // namespace

Update Update::rollback_to(uint64_t version) {
  Update update;
  update.kind = RecordKind::kRollback;
  update.to_version = version;
  return update;
}

void Update::set_codes(const int64_t* given, size_t n, const SidTrieView& base) {
  const auto num_levels = static_cast<size_t>(base.num_levels);
  codes.resize(n * num_levels);
  for (size_t i = 0; i < codes.size(); ++i) {
    check_code(*this, base, i, given[i]);
    codes[i] = static_cast<uint16_t>(given[i]);
  }
}

void Update::check(const Generation& generation) const {
  const SidTrieView& base = generation.trie().view();
  check_ids(*this);
  for (size_t row = 0; row < scores.size(); ++row) {
    if (std::isfinite(scores[row])) continue;
    throw InvalidArgument(
        complaint(name_of(kind), "scores", "finite float32 numbers",
                  std::to_string(scores[row]) + " at row " + std::to_string(row)));
  }
  for (size_t i = 0; i < codes.size(); ++i) check_code(*this, base, i, codes[i]);
  if (columns != nullptr) check_columns(*this, generation.columns().get());
}

void Update::keep(const std::vector<bool>& kept, int num_levels) {
  keep_rows(&ids, kept, 1);
  keep_rows(&scores, kept, 1);
  keep_rows(&codes, kept, num_levels);
  if (columns == nullptr) return;
  std::vector<uint32_t> rows;
  for (uint32_t row = 0; row < kept.size(); ++row) {
    if (kept[row]) rows.push_back(row);
  }
  columns = ItemColumns::take(*columns, nullptr, rows.data(), static_cast<uint32_t>(rows.size()));
}

namespace {

// Null for none.
ItemColumnsHandle columns_of(PayloadReader& payload, uint64_t num_items) {
  const std::vector<unsigned char> image = payload.take<unsigned char>(payload.take_number());
  if (image.empty()) return nullptr;
  try {
    ItemColumnsHandle columns =
        ItemColumns::from_bytes(image.data(), image.size(), "LiveStore.open: record");
    if (columns->num_items() == num_items) return columns;
  } catch (const ColumnsFormatError&) {
    // Refused as any other payload.
  }
  payload.reject();
}

}  // namespace

std::vector<unsigned char> encode(const Update& update) {
  PayloadWriter payload;
  if (update.kind == RecordKind::kRollback) {
    payload.add(update.to_version);
    return payload.take();
  }
  payload.add(update.ids.size());
  payload.add(update.ids.data(), update.ids.size());
  payload.add(update.scores.data(), update.scores.size());
  payload.add(update.codes.data(), update.codes.size());
  if (has_columns(update.kind)) {
    const Bytes none;
    const Bytes& image = update.columns == nullptr ? none : update.columns->image();
    payload.add(image.size());
    payload.add(image.data(), image.size());
  }
  return payload.take();
}

Update decode(const JournalRecord& record, int num_levels) {
  PayloadReader payload(record);
  Update update;
  update.kind = record.kind;
  const uint64_t number = payload.take_number();
  if (record.kind == RecordKind::kRollback) {
    update.to_version = number;
  } else {
    update.ids = payload.take<int64_t>(number);
  }
  if (has_scores(record.kind)) update.scores = payload.take<float>(number);
  if (record.kind == RecordKind::kInsert) {
    update.codes = payload.take<uint16_t>(number * static_cast<uint64_t>(num_levels));
  }
  if (has_columns(record.kind)) update.columns = columns_of(payload, number);
  payload.require_end();
  return update;
}

}  // namespace onesearch
