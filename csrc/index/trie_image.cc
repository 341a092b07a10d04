#include "index/trie_image.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "core/hash.h"
#include "cpu/thread_pool.h"
#include "index/trie_rules.h"

namespace onesearch {
namespace {

constexpr char kMagic[8] = {'O', 'S', 'F', 'T', 'R', 'I', 'E', '\x1a'};
constexpr uint32_t kByteOrder = 0x01020304;
constexpr uint32_t kMaxIndex = 0x7fffffff;
constexpr char kRemedy[] = "build the trie again with SidTrie.build and save it";

uint64_t round_up(uint64_t bytes) {
  return (bytes + kSectionAlignment - 1) / kSectionAlignment * kSectionAlignment;
}

// Few nodes store where their items begin; the others follow their children down, a step or two.
bool stores_items(const TrieShape& shape, int level) {
  return level == shape.num_levels || (level >= 1 && level <= shape.num_levels - 2 &&
                                       uint64_t{8} * shape.num_nodes[level] <= shape.num_items);
}

// The view of an image of this shape but for where its sections are.
SidTrieView counts_of(const TrieShape& shape) {
  SidTrieView view;
  view.num_levels = shape.num_levels;
  std::memcpy(view.level_sizes, shape.level_sizes, sizeof view.level_sizes);
  std::memcpy(view.num_nodes, shape.num_nodes, sizeof view.num_nodes);
  view.num_items = shape.num_items;
  for (int level = 0; level <= shape.num_levels; ++level) {
    if (level < shape.num_levels) {
      view.child_partition[level].num_parts = shape.num_nodes[level];
      view.child_partition[level].num_elements = shape.num_nodes[level + 1];
    }
    if (stores_items(shape, level)) {
      view.item_partition[level].num_parts = shape.num_nodes[level];
      view.item_partition[level].num_elements = shape.num_items;
    }
  }
  return view;
}

// Where the sections of a shape lie, in their one order.
class Layout {
 public:
  explicit Layout(const TrieShape& shape) {
    const SidTrieView counts = counts_of(shape);
    for (int level = 0; level < shape.num_levels; ++level) {
      add(SectionKind::kChildOffsets, SectionKind::kChildWords, level,
          counts.child_partition[level]);
      add(SectionKind::kChildToken, level, shape.num_nodes[level + 1], counts.token_bytes(level));
    }
    for (int level = 1; level <= shape.num_levels; ++level) {
      add(SectionKind::kItemOffsets, SectionKind::kItemWords, level, counts.item_partition[level]);
    }
    if (shape.has_item_ids) add(SectionKind::kItemId, 0, shape.num_items, sizeof(int64_t));
    add(SectionKind::kItemRow, 0, shape.num_items, sizeof(uint32_t));
    add(SectionKind::kItemById, 0, shape.num_items, sizeof(uint32_t));
    if (shape.has_item_scores) add(SectionKind::kItemScore, 0, shape.num_items, sizeof(float));
    place();
  }

  const std::vector<SectionEntry>& sections() const { return sections_; }
  uint64_t header_bytes() const { return header_bytes_; }
  uint64_t file_bytes() const { return file_bytes_; }

 private:
  void add(SectionKind kind, int level, uint64_t count, uint64_t width) {
    sections_.push_back({kind, static_cast<uint32_t>(level), 0, count * width, 0});
  }

  void add(SectionKind offsets, SectionKind words, int level, const Partition& partition) {
    if (partition.is_identity()) return;  // also the one that is not stored
    if (partition.is_packed()) {
      add(words, level, partition.num_words(), sizeof(PartitionWord));
    } else {
      add(offsets, level, uint64_t{partition.num_parts} + 1, sizeof(uint32_t));
    }
  }

  void place() {
    header_bytes_ = round_up(sizeof(TrieHeader) + sections_.size() * sizeof(SectionEntry));
    file_bytes_ = header_bytes_;
    for (SectionEntry& section : sections_) {
      section.offset = file_bytes_;
      file_bytes_ += round_up(section.bytes);
    }
  }

  std::vector<SectionEntry> sections_;
  uint64_t header_bytes_ = 0;
  uint64_t file_bytes_ = 0;
};

TrieHeader* header_of(const Bytes& image) { return reinterpret_cast<TrieHeader*>(image.data()); }

SectionEntry* table_of(const Bytes& image) {
  return reinterpret_cast<SectionEntry*>(image.data() + sizeof(TrieHeader));
}

TrieShape shape_of(const TrieHeader& header) {
  TrieShape shape;
  shape.num_levels = static_cast<int>(header.num_levels);
  std::copy_n(header.level_sizes, header.num_levels, shape.level_sizes);
  std::copy_n(header.num_nodes, header.num_levels + 1, shape.num_nodes);
  shape.num_items = header.num_items;
  shape.has_item_ids = (header.contents & kHasItemIds) != 0;
  shape.has_item_scores = (header.contents & kHasItemScores) != 0;
  return shape;
}

// The one header of this shape, its checksum not set.
TrieHeader make_header(const TrieShape& shape, const Layout& layout) {
  TrieHeader header{};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  header.version = kTrieVersion;
  header.byte_order = kByteOrder;
  header.file_bytes = layout.file_bytes();
  header.num_levels = static_cast<uint32_t>(shape.num_levels);
  header.num_sections = static_cast<uint32_t>(layout.sections().size());
  header.num_items = shape.num_items;
  header.contents =
      (shape.has_item_ids ? kHasItemIds : 0) | (shape.has_item_scores ? kHasItemScores : 0);
  std::memcpy(header.level_sizes, shape.level_sizes, sizeof header.level_sizes);
  std::memcpy(header.num_nodes, shape.num_nodes, sizeof header.num_nodes);
  header.header_bytes = static_cast<uint32_t>(layout.header_bytes());
  return header;
}

uint64_t header_checksum(const Bytes& image, uint64_t header_bytes) {
  std::vector<unsigned char> copy(image.data(), image.data() + header_bytes);
  std::memset(copy.data() + offsetof(TrieHeader, checksum), 0, sizeof(uint64_t));
  return xxh64(copy.data(), copy.size());
}

// A section's checksum runs to where the next one begins, so that padding is covered too.
uint64_t section_checksum(const Bytes& image, const SectionEntry& section) {
  return xxh64(image.data() + section.offset, round_up(section.bytes));
}

void require(bool sound, const std::string& where, const std::string& what,
             const std::string& expected, const std::string& got) {
  if (!sound) throw FormatError(complaint(where, what, expected, got, kRemedy));
}

void check_header(const Bytes& image, const std::string& where) {
  require(image.size() >= sizeof(TrieHeader), where, "file",
          "at least " + std::to_string(sizeof(TrieHeader)) + " bytes",
          std::to_string(image.size()));
  const TrieHeader& header = *header_of(image);
  require(std::memcmp(header.magic, kMagic, sizeof kMagic) == 0, where, "magic",
          "the trie file magic", "other bytes");
  require(header.byte_order == kByteOrder, where, "byte order", "little endian", "another");
  require(header.version == kTrieVersion, where, "version", std::to_string(kTrieVersion),
          std::to_string(header.version));
  require(header.file_bytes == image.size(), where, "file size",
          std::to_string(header.file_bytes) + " bytes", std::to_string(image.size()));
}

void check_shape(const TrieHeader& header, const std::string& where) {
  require(header.num_levels >= 2 && header.num_levels <= SidTrieView::kMaxLevels, where,
          "num_levels", "2 to 8", std::to_string(header.num_levels));
  require(header.num_items >= 1 && header.num_items <= kMaxIndex, where, "num_items",
          "1 to 2^31 - 1", std::to_string(header.num_items));
  require(header.num_nodes[0] == 1, where, "num_nodes[0]", "1",
          std::to_string(header.num_nodes[0]));
  for (uint32_t level = 0; level < header.num_levels; ++level) {
    const uint32_t size = header.level_sizes[level];
    require(size >= 2 && size <= 65536, where, "level size", "2 to 65536", std::to_string(size));
    const uint64_t nodes = header.num_nodes[level];
    const uint64_t below = header.num_nodes[level + 1];
    require(below >= nodes && below <= nodes * size && below <= header.num_items, where,
            "num_nodes[" + std::to_string(level + 1) + "]",
            "at least one child a node, at most the level size, and no more than items",
            std::to_string(below));
  }
}

void point_at(const void* at, const SectionEntry& section, SidTrieView* view) {
  switch (section.kind) {
    case SectionKind::kChildOffsets:
      view->child_partition[section.level].offsets = static_cast<const uint32_t*>(at);
      break;
    case SectionKind::kChildWords:
      view->child_partition[section.level].words = static_cast<const PartitionWord*>(at);
      break;
    case SectionKind::kChildToken:
      view->child_token[section.level] = at;
      break;
    case SectionKind::kItemOffsets:
      view->item_partition[section.level].offsets = static_cast<const uint32_t*>(at);
      break;
    case SectionKind::kItemWords:
      view->item_partition[section.level].words = static_cast<const PartitionWord*>(at);
      break;
    case SectionKind::kItemId:
      view->item_ids = static_cast<const int64_t*>(at);
      break;
    case SectionKind::kItemRow:
      view->item_rows = static_cast<const uint32_t*>(at);
      break;
    case SectionKind::kItemById:
      view->position_by_id = static_cast<const uint32_t*>(at);
      break;
    case SectionKind::kItemScore:
      view->item_scores = static_cast<const float*>(at);
      break;
  }
}

SidTrieView view_of(const Bytes& image, const TrieShape& shape, const Layout& layout) {
  SidTrieView view = counts_of(shape);
  for (const SectionEntry& section : layout.sections()) {
    point_at(image.data() + section.offset, section, &view);
  }
  return view;
}

}  // namespace

Bytes make_image(const TrieShape& shape, const MakeBytes& make_bytes) {
  const Layout layout(shape);
  Bytes image = make_bytes(layout.file_bytes());
  *header_of(image) = make_header(shape, layout);
  std::memcpy(table_of(image), layout.sections().data(),
              layout.sections().size() * sizeof(SectionEntry));
  return image;
}

SidTrieView unsealed_view(const Bytes& image) {
  const TrieShape shape = shape_of(*header_of(image));
  return view_of(image, shape, Layout(shape));
}

void seal_image(const Bytes& image) {
  const Layout layout(shape_of(*header_of(image)));
  const std::vector<SectionEntry>& sections = layout.sections();
  parallel_for(static_cast<int64_t>(sections.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      table_of(image)[i].checksum = section_checksum(image, sections[i]);
    }
  });
  header_of(image)->checksum = header_checksum(image, layout.header_bytes());
}

SidTrieView open_image(const Bytes& image, const std::string& where) {
  check_header(image, where);
  const TrieHeader& header = *header_of(image);
  check_shape(header, where);
  const TrieShape shape = shape_of(header);
  const Layout layout(shape);
  require(layout.file_bytes() == image.size(), where, "file size",
          std::to_string(layout.file_bytes()) + " bytes for these level sizes",
          std::to_string(image.size()));
  require(header.checksum == header_checksum(image, layout.header_bytes()), where, "header",
          "its checksum to match", "altered bytes");
  TrieHeader expected = make_header(shape, layout);
  expected.checksum = header.checksum;
  bool sound = std::memcmp(&expected, &header, sizeof expected) == 0;
  for (size_t i = 0; sound && i < layout.sections().size(); ++i) {
    SectionEntry entry = table_of(image)[i];
    entry.checksum = 0;
    sound = std::memcmp(&entry, &layout.sections()[i], sizeof entry) == 0;
  }
  require(sound, where, "header", "the sections of version 2 in order", "others");
  return view_of(image, shape, layout);
}

// The header's checksum covers the sections', and so all bytes.
uint64_t fingerprint_of(const Bytes& image) { return header_of(image)->checksum; }

void verify_image(const Bytes& image, const std::string& where) {
  const SidTrieView view = open_image(image, where);
  const std::vector<SectionEntry> sections = sections_of(image);
  parallel_for(static_cast<int64_t>(sections.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      require(sections[i].checksum == section_checksum(image, sections[i]), where,
              "section " + section_name(sections[i]), "its checksum to match", "altered bytes");
    }
  });
  verify_structure(view, where);
}

std::string section_name(const SectionEntry& section) {
  const char* const names[] = {"child_offsets", "child_words", "child_token",
                               "item_offsets",  "item_words",  "item_id",
                               "item_row",      "item_by_id",  "item_score"};
  const std::string name = names[static_cast<uint32_t>(section.kind) - 1];
  const bool has_level = section.kind <= SectionKind::kItemWords;
  return has_level ? name + "[" + std::to_string(section.level) + "]" : name;
}

std::vector<SectionEntry> sections_of(const Bytes& image) {
  const SectionEntry* table = table_of(image);
  return {table, table + header_of(image)->num_sections};
}

}  // namespace onesearch
