#include "index/trie_image.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include "core/error.h"
#include "core/hash.h"

namespace onesearch {
namespace {

constexpr char kMagic[8] = {'O', 'S', 'F', 'T', 'R', 'I', 'E', '\x1a'};
constexpr uint32_t kByteOrder = 0x01020304;
constexpr uint32_t kMaxIndex = 0x7fffffff;
constexpr char kRemedy[] = "write the file again with SidTrie.save";

uint64_t round_up(uint64_t bytes) {
  return (bytes + kSectionAlignment - 1) / kSectionAlignment * kSectionAlignment;
}

// A level stores its rank ranges when it has few nodes; the others follow child_begin down, a step
// or two.
bool stores_ranks(const TrieShape& shape, int level) {
  return level >= 1 && level <= shape.num_levels - 2 &&
         uint64_t{8} * shape.num_nodes[level] <= shape.num_nodes[shape.num_levels];
}

struct Layout {
  std::vector<SectionEntry> sections;
  uint64_t header_bytes = 0;
  uint64_t file_bytes = 0;
};

Layout layout_of(const TrieShape& shape) {
  Layout layout;
  const auto add = [&layout](SectionKind kind, int level, uint64_t count, uint64_t width) {
    layout.sections.push_back(
        {static_cast<uint32_t>(kind), static_cast<uint32_t>(level), 0, count * width, 0});
  };
  for (int level = 0; level < shape.num_levels; ++level) {
    add(SectionKind::kChildBegin, level, uint64_t{shape.num_nodes[level]} + 1, 4);
    add(SectionKind::kChildToken, level, shape.num_nodes[level + 1], 2);
    if (stores_ranks(shape, level)) {
      add(SectionKind::kRankBegin, level, uint64_t{shape.num_nodes[level]} + 1, 4);
    }
  }
  add(SectionKind::kItemBegin, 0, uint64_t{shape.num_nodes[shape.num_levels]} + 1, 4);
  add(SectionKind::kItemId, 0, shape.num_items, 8);
  add(SectionKind::kItemRow, 0, shape.num_items, 4);
  add(SectionKind::kItemById, 0, shape.num_items, 4);

  layout.header_bytes =
      round_up(sizeof(TrieHeader) + layout.sections.size() * sizeof(SectionEntry));
  uint64_t offset = layout.header_bytes;
  for (SectionEntry& section : layout.sections) {
    section.offset = offset;
    offset += round_up(section.bytes);
  }
  layout.file_bytes = offset;
  return layout;
}

TrieHeader* header_of(const Bytes& image) { return reinterpret_cast<TrieHeader*>(image.data()); }

SectionEntry* table_of(const Bytes& image) {
  return reinterpret_cast<SectionEntry*>(image.data() + sizeof(TrieHeader));
}

TrieShape shape_of(const TrieHeader& header) {
  TrieShape shape;
  shape.num_levels = static_cast<int>(header.num_levels);
  std::copy_n(header.level_sizes, header.num_levels, shape.level_sizes);
  std::copy_n(header.num_nodes, header.num_levels + 1, shape.num_nodes);
  shape.num_items = static_cast<uint32_t>(header.num_items);
  return shape;
}

// The one header of this shape, its checksum not set.
TrieHeader make_header(const TrieShape& shape, const Layout& layout) {
  TrieHeader header{};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  header.version = kTrieVersion;
  header.byte_order = kByteOrder;
  header.file_bytes = layout.file_bytes;
  header.num_levels = static_cast<uint32_t>(shape.num_levels);
  header.num_sections = static_cast<uint32_t>(layout.sections.size());
  header.num_items = shape.num_items;
  std::memcpy(header.level_sizes, shape.level_sizes, sizeof header.level_sizes);
  std::memcpy(header.num_nodes, shape.num_nodes, sizeof header.num_nodes);
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

[[noreturn]] void reject(const std::string& where, const std::string& what,
                         const std::string& expected, const std::string& got) {
  throw FormatError(complaint(where, what, expected, got, kRemedy));
}

void require(bool sound, const std::string& where, const std::string& what,
             const std::string& expected, const std::string& got) {
  if (!sound) reject(where, what, expected, got);
}

void check_header(const Bytes& image, const std::string& where) {
  require(image.size() >= sizeof(TrieHeader), where, "file", "at least 128 bytes",
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

SidTrieView view_of(const Bytes& image, const TrieShape& shape, const Layout& layout) {
  SidTrieView view;
  view.num_levels = shape.num_levels;
  std::memcpy(view.level_sizes, shape.level_sizes, sizeof view.level_sizes);
  std::memcpy(view.num_nodes, shape.num_nodes, sizeof view.num_nodes);
  view.num_items = shape.num_items;
  for (const SectionEntry& section : layout.sections) {
    const unsigned char* at = image.data() + section.offset;
    const auto* u32 = reinterpret_cast<const uint32_t*>(at);
    switch (static_cast<SectionKind>(section.kind)) {
      case SectionKind::kChildBegin:
        view.child_begin[section.level] = u32;
        break;
      case SectionKind::kChildToken:
        view.child_token[section.level] = reinterpret_cast<const uint16_t*>(at);
        break;
      case SectionKind::kRankBegin:
        view.rank_begin[section.level] = u32;
        break;
      case SectionKind::kItemBegin:
        view.item_begin = u32;
        break;
      case SectionKind::kItemId:
        view.item_id = reinterpret_cast<const int64_t*>(at);
        break;
      case SectionKind::kItemRow:
        view.item_row = u32;
        break;
      case SectionKind::kItemById:
        view.item_by_id = u32;
        break;
    }
  }
  return view;
}

// begin[0] == 0, begin[count] == total, strictly ascending: every node has a child, every SID an
// item.
void verify_offsets(const uint32_t* begin, uint32_t count, uint32_t total, const std::string& name,
                    const std::string& where) {
  bool sound = begin[0] == 0 && begin[count] == total;
  for (uint32_t i = 0; sound && i < count; ++i) sound = begin[i] < begin[i + 1];
  require(sound, where, name, "ascending offsets from 0 to " + std::to_string(total), "others");
}

void verify_tokens(const SidTrieView& view, int level, const std::string& where) {
  bool sound = true;
  for (uint32_t node = 0; sound && node < view.num_nodes[level]; ++node) {
    const NodeRange range = view.children(level, node);
    const uint16_t* tokens = view.child_token[level];
    for (uint32_t edge = range.begin + 1; edge < range.end; ++edge) {
      sound = sound && tokens[edge - 1] < tokens[edge];
    }
    sound = sound && tokens[range.end - 1] < view.level_sizes[level];
  }
  require(sound, where, "child_token[" + std::to_string(level) + "]",
          "ascending tokens below the level size", "others");
}

void verify_ranks(const SidTrieView& view, int level, const std::string& where) {
  SidTrieView derived = view;
  derived.rank_begin[level] = nullptr;
  bool sound = true;
  for (uint32_t node = 0; node <= view.num_nodes[level]; ++node) {
    sound = sound && view.rank_begin[level][node] == derived.rank_before(level, node);
  }
  require(sound, where, "rank_begin[" + std::to_string(level) + "]",
          "the first rank below each node", "others");
}

void verify_items(const SidTrieView& view, const std::string& where) {
  std::vector<bool> row_seen(view.num_items);
  bool sound = true;
  for (uint32_t position = 0; sound && position < view.num_items; ++position) {
    const uint32_t row = view.item_row[position];
    sound = row < view.num_items && !row_seen[row] && view.item_id[position] >= 0;
    if (sound) row_seen[row] = true;
  }
  require(sound, where, "item_row", "each row once, ids at least 0", "others");

  for (uint32_t i = 0; sound && i < view.num_items; ++i) {
    sound = view.item_by_id[i] < view.num_items;
    if (sound && i > 0) {
      sound = view.item_id[view.item_by_id[i - 1]] < view.item_id[view.item_by_id[i]];
    }
  }
  require(sound, where, "item_by_id", "positions by ascending distinct item id", "others");
}

void verify_structure(const SidTrieView& view, const std::string& where) {
  for (int level = 0; level < view.num_levels; ++level) {
    verify_offsets(view.child_begin[level], view.num_nodes[level], view.num_nodes[level + 1],
                   "child_begin[" + std::to_string(level) + "]", where);
    verify_tokens(view, level, where);
  }
  // Ranges are derived from the levels below, so they come after all of those are known to be
  // sound.
  for (int level = view.num_levels; level >= 0; --level) {
    if (view.rank_begin[level] != nullptr) verify_ranks(view, level, where);
  }
  verify_offsets(view.item_begin, view.num_sids(), view.num_items, "item_begin", where);
  verify_items(view, where);
}

// A new file beside its target, removed again unless it takes the target's place.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& target) {
    static std::atomic<uint32_t> counter{0};
    do {
      name_ = target + "." + std::to_string(getpid()) + "-" + std::to_string(counter++) + ".tmp";
      descriptor_ = open(name_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    } while (descriptor_ < 0 && errno == EEXIST);
    if (descriptor_ < 0) throw IoError(errno, target);
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() {
    if (descriptor_ >= 0) close(descriptor_);
    if (!name_.empty()) unlink(name_.c_str());
  }

  void write(const unsigned char* bytes, size_t size) {
    while (size > 0) {
      const ssize_t written = ::write(descriptor_, bytes, size);
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) throw IoError(errno, name_);
      bytes += written;
      size -= static_cast<size_t>(written);
    }
  }

  void become(const std::string& target) {
    if (fsync(descriptor_) != 0) throw IoError(errno, name_);
    const int closed = close(descriptor_);
    descriptor_ = -1;
    if (closed != 0) throw IoError(errno, name_);
    if (rename(name_.c_str(), target.c_str()) != 0) throw IoError(errno, target);
    name_.clear();
  }

 private:
  std::string name_;
  int descriptor_ = -1;
};

void sync_folder_of(const std::string& path) {
  const size_t slash = path.find_last_of('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const int descriptor = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) throw IoError(errno, folder);
  const int status = fsync(descriptor);
  const int code = errno;
  close(descriptor);
  // Some file systems cannot sync a folder; the rename itself has happened.
  if (status != 0 && code != EINVAL) throw IoError(code, folder);
}

}  // namespace

Bytes Bytes::allocate(size_t size) {
  void* data = std::aligned_alloc(kSectionAlignment, round_up(size));
  if (data == nullptr) throw std::bad_alloc();
  std::memset(data, 0, round_up(size));
  return Bytes(static_cast<unsigned char*>(data), size, false);
}

Bytes Bytes::map(const std::string& path) {
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) throw IoError(errno, path);
  struct stat status;
  int code = fstat(descriptor, &status) == 0 ? 0 : errno;
  if (code == 0 && S_ISDIR(status.st_mode)) code = EISDIR;
  void* data = nullptr;
  const auto size = code == 0 ? static_cast<size_t>(status.st_size) : 0;
  if (size > 0) {
    data = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (data == MAP_FAILED) code = errno;
  }
  close(descriptor);
  if (code != 0) throw IoError(code, path);
  return Bytes(static_cast<unsigned char*>(data), size, true);
}

Bytes::Bytes(Bytes&& other) noexcept { *this = std::move(other); }

Bytes& Bytes::operator=(Bytes&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(mapped_, other.mapped_);
  return *this;
}

Bytes::~Bytes() {
  if (data_ == nullptr) return;
  if (mapped_) {
    munmap(data_, size_);
  } else {
    std::free(data_);
  }
}

Bytes make_image(const TrieShape& shape) {
  const Layout layout = layout_of(shape);
  Bytes image = Bytes::allocate(layout.file_bytes);
  *header_of(image) = make_header(shape, layout);
  std::memcpy(table_of(image), layout.sections.data(),
              layout.sections.size() * sizeof(SectionEntry));
  return image;
}

SidTrieView unsealed_view(const Bytes& image) {
  const TrieShape shape = shape_of(*header_of(image));
  return view_of(image, shape, layout_of(shape));
}

void seal_image(const Bytes& image) {
  const Layout layout = layout_of(shape_of(*header_of(image)));
  for (size_t i = 0; i < layout.sections.size(); ++i) {
    table_of(image)[i].checksum = section_checksum(image, layout.sections[i]);
  }
  header_of(image)->checksum = header_checksum(image, layout.header_bytes);
}

SidTrieView open_image(const Bytes& image, const std::string& where) {
  check_header(image, where);
  const TrieHeader& header = *header_of(image);
  check_shape(header, where);
  const TrieShape shape = shape_of(header);
  const Layout layout = layout_of(shape);
  require(layout.file_bytes == image.size(), where, "file size",
          std::to_string(layout.file_bytes) + " bytes for these level sizes",
          std::to_string(image.size()));
  require(header.checksum == header_checksum(image, layout.header_bytes), where, "header",
          "its checksum to match", "altered bytes");
  TrieHeader expected = make_header(shape, layout);
  expected.checksum = header.checksum;
  bool sound = std::memcmp(&expected, &header, sizeof expected) == 0;
  for (size_t i = 0; sound && i < layout.sections.size(); ++i) {
    SectionEntry entry = table_of(image)[i];
    entry.checksum = 0;
    sound = std::memcmp(&entry, &layout.sections[i], sizeof entry) == 0;
  }
  require(sound, where, "header", "the sections of version 1 in order, unused fields 0", "others");
  return view_of(image, shape, layout);
}

void verify_image(const Bytes& image, const std::string& where) {
  const SidTrieView view = open_image(image, where);
  const uint32_t num_sections = header_of(image)->num_sections;
  for (uint32_t i = 0; i < num_sections; ++i) {
    const SectionEntry& section = table_of(image)[i];
    require(section.checksum == section_checksum(image, section), where,
            "section " + std::to_string(i), "its checksum to match", "altered bytes");
  }
  verify_structure(view, where);
}

void write_file(const std::string& path, const Bytes& image) {
  TemporaryFile file(path);
  file.write(image.data(), image.size());
  file.become(path);
  sync_folder_of(path);
}

}  // namespace onesearch
