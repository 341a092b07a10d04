// The bytes of a trie: header, section table, 64-byte aligned sections. Memory and file hold the
// same bytes; docs/trie_file_format.md gives them one by one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "index/sid_trie_view.h"

namespace onesearch {

constexpr size_t kSectionAlignment = 64;
constexpr uint32_t kTrieVersion = 1;

enum class SectionKind : uint32_t {
  kChildBegin = 1,
  kChildToken = 2,
  kRankBegin = 3,
  kItemBegin = 4,
  kItemId = 5,
  kItemRow = 6,
  kItemById = 7,
};

struct TrieHeader {
  char magic[8];
  uint32_t version;
  uint32_t byte_order;
  uint64_t file_bytes;
  uint32_t num_levels;
  uint32_t num_sections;
  uint64_t num_items;
  uint32_t level_sizes[SidTrieView::kMaxLevels];
  uint32_t num_nodes[SidTrieView::kMaxLevels + 1];
  uint32_t reserved[3];
  uint64_t checksum;
};
static_assert(sizeof(TrieHeader) == 128, "the header is part of the file format");

struct SectionEntry {
  uint32_t kind;
  uint32_t level;
  uint64_t offset;
  uint64_t bytes;
  uint64_t checksum;
};
static_assert(sizeof(SectionEntry) == 32, "the section table is part of the file format");

// What determines every size in the image.
struct TrieShape {
  int num_levels = 0;
  uint32_t level_sizes[SidTrieView::kMaxLevels] = {};
  uint32_t num_nodes[SidTrieView::kMaxLevels + 1] = {};
  uint32_t num_items = 0;
};

// Owns the bytes: memory of its own, or a read-only map of a file.
class Bytes {
 public:
  static Bytes allocate(size_t size);  // zeroed, 64-byte aligned
  static Bytes map(const std::string& path);

  Bytes() = default;
  Bytes(Bytes&& other) noexcept;
  Bytes& operator=(Bytes&& other) noexcept;
  ~Bytes();

  unsigned char* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  Bytes(unsigned char* data, size_t size, bool mapped)
      : data_(data), size_(size), mapped_(mapped) {}

  unsigned char* data_ = nullptr;
  size_t size_ = 0;
  bool mapped_ = false;
};

// An image with header and table written, sections zero, checksums not yet set.
Bytes make_image(const TrieShape& shape);

// The view of an image that make_image made, whose checksums are not yet set.
SidTrieView unsealed_view(const Bytes& image);

// Sets every checksum; the last step of a build.
void seal_image(const Bytes& image);

// Checks header and section table, and gives the view. `where` opens the sentence of a FormatError.
SidTrieView open_image(const Bytes& image, const std::string& where);

// Checks every checksum and every structural rule of the format.
void verify_image(const Bytes& image, const std::string& where);

// Writes the bytes to `path`: the file is whole or untouched.
void write_file(const std::string& path, const Bytes& image);

}  // namespace onesearch
