// The bytes of a trie: header, section table, 64-byte aligned sections. Memory and file hold the
// same bytes; docs/trie_file_format.md gives them one by one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "core/bytes.h"
#include "index/sid_trie_view.h"

namespace onesearch {

constexpr uint64_t kSectionAlignment = 64;
constexpr uint32_t kTrieVersion = 2;

enum class SectionKind : uint32_t {
  kChildOffsets = 1,
  kChildWords = 2,
  kChildToken = 3,
  kItemOffsets = 4,
  kItemWords = 5,
  kItemId = 6,
  kItemRow = 7,
  kItemById = 8,
  kItemScore = 9,
};

// Bits of TrieHeader.contents: optional sections.
constexpr uint32_t kHasItemIds = 1;
constexpr uint32_t kHasItemScores = 2;

struct TrieHeader {
  char magic[8];
  uint32_t version;
  uint32_t byte_order;
  uint64_t file_bytes;
  uint32_t num_levels;
  uint32_t num_sections;
  uint32_t num_items;
  uint32_t contents;
  uint32_t level_sizes[SidTrieView::kMaxLevels];
  uint32_t num_nodes[SidTrieView::kMaxLevels + 1];
  uint32_t header_bytes;
  uint64_t checksum;
};
static_assert(sizeof(TrieHeader) == 120, "the header is part of the file format");

struct SectionEntry {
  SectionKind kind;
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
  bool has_item_ids = false;
  bool has_item_scores = false;
};

// An image with header and table written, sections zero, checksums not yet set.
Bytes make_image(const TrieShape& shape, const MakeBytes& make_bytes = &Bytes::allocate);

// The view of an image that make_image made, whose checksums are not yet set: what a builder fills,
// the partitions through a PartitionWriter each.
SidTrieView unsealed_view(const Bytes& image);

// Sets every checksum; the last step of a build.
void seal_image(const Bytes& image);

// Checks header and section table, and gives the view. `where` opens the sentence of a FormatError.
SidTrieView open_image(const Bytes& image, const std::string& where);

// Names the content of a sealed image: equal for equal bytes.
uint64_t fingerprint_of(const Bytes& image);

// Checks every checksum and every structural rule of the format.
void verify_image(const Bytes& image, const std::string& where);

// As "child_token[2]" or "item_id".
std::string section_name(const SectionEntry& section);

// The section table of an image that open_image or make_image has seen.
std::vector<SectionEntry> sections_of(const Bytes& image);

}  // namespace onesearch
