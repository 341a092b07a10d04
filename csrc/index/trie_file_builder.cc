#include "index/trie_file_builder.h"

#include <algorithm>
#include <atomic>
#include <optional>

#include "core/error.h"
#include "index/code_keys.h"
#include "index/external_sort.h"
#include "index/trie_writer.h"

namespace onesearch {
namespace {

constexpr char kWhere[] = "SidTrie.build_file";
constexpr int64_t kMinMemory = int64_t{32} << 20;

// Half is left to what does not grow with the batch: lines and leaves of the sort, on each thread.
int64_t batch_memory(const FileBuildOptions& options) { return options.max_memory_bytes / 2; }

void check_column(const char* name, bool expected, bool given) {
  if (given == expected) return;
  throw InvalidArgument(complaint(kWhere, name, "in every chunk or in none",
                                  given ? "none in the first chunk" : "none in a later chunk"));
}

template <class Key>
class ChunkSorter {
 public:
  ChunkSorter(const FileBuildOptions& options, const KeyLayout& layout)
      : options_(options), layout_(layout) {}

  void add(const CatalogueCodes& chunk) {
    const CodeKeys codes(kWhere, chunk.codes, layout_);
    if (!sort_) open(chunk);
    check_column("item_ids", columns_.ids, chunk.item_ids != nullptr);
    check_column("item_scores", columns_.scores, chunk.item_scores != nullptr);
    const int64_t n = chunk.codes.shape[0];
    const int64_t first_row = sort_->num_rows();
    if (n > 0) check_num_items(kWhere, first_row + n);
    check_items(kWhere, chunk, first_row);
    std::atomic<bool> sound{true};
    const auto read_keys = [&](int64_t first, int64_t count, Key* keys) {
      if (!codes.read(first, count, keys)) sound = false;
    };
    sort_->add(n, read_keys, chunk.item_ids, chunk.item_scores);
    if (!sound) codes.reject(first_row);
  }

  RowTable<Key> merge() {
    check_num_items(kWhere, sort_ ? sort_->num_rows() : 0);
    return sort_->merge();
  }

 private:
  void open(const CatalogueCodes& first) {
    columns_ = {first.item_ids != nullptr, first.item_scores != nullptr};
    sort_.emplace(ExternalSortOptions{layout_.bits, columns_, options_.scratch_folder,
                                      batch_memory(options_)});
  }

  const FileBuildOptions& options_;
  const KeyLayout& layout_;
  PriorColumns columns_;
  std::optional<ExternalSort<Key>> sort_;
};

// The image but for position_by_id and checksums.
template <class Key>
Bytes build_levels(const FileBuildOptions& options, const KeyLayout& layout,
                   const NextChunk& next_chunk, const MakeBytes& make_bytes) {
  std::optional<ChunkSorter<Key>> chunks(std::in_place, options, layout);
  CatalogueCodes chunk;
  while (next_chunk(&chunk)) chunks->add(chunk);
  const RowTable<Key> sorted = chunks->merge();
  chunks.reset();  // the batches' scratch files
  ItemValues items;
  items.ids = sorted.ids();
  items.scores = options.keep_scores ? sorted.scores() : nullptr;
  items.by_position = true;
  return write_image(layout, sorted, items, make_bytes);
}

void index_ids(const FileBuildOptions& options, const SidTrieView& view) {
  constexpr int kIdBits = 63;
  ExternalSort<uint64_t> sort({kIdBits, {}, options.scratch_folder, batch_memory(options)});
  const auto read_keys = [&view](int64_t first, int64_t n, uint64_t* keys) {
    std::copy_n(view.item_ids + first, n, keys);
  };
  sort.add(view.num_items, read_keys, nullptr, nullptr);
  write_id_order(kWhere, sort.merge(), view);
}

}  // namespace

void build_file(const std::string& path, const FileBuildOptions& options,
                const NextChunk& next_chunk) {
  const KeyLayout layout(kWhere, options.level_sizes);
  if (options.max_memory_bytes < kMinMemory) {
    throw InvalidArgument(complaint(kWhere, "max_memory_bytes", "at least 32 MiB",
                                    std::to_string(options.max_memory_bytes)));
  }
  NewFile file(path);
  const MakeBytes make_bytes = [&file](size_t size) { return file.map(size); };
  {
    const Bytes image = layout.is_wide()
                            ? build_levels<WideKey>(options, layout, next_chunk, make_bytes)
                            : build_levels<uint64_t>(options, layout, next_chunk, make_bytes);
    const SidTrieView view = unsealed_view(image);
    if (view.item_ids == nullptr) {
      constexpr int64_t kPositionBytes = sizeof(uint32_t);
      write_row_order(view, batch_memory(options) / kPositionBytes);
    } else {
      index_ids(options, view);
    }
    seal_image(image);
  }
  file.publish();
}

}  // namespace onesearch
