#include "index/sid_trie.h"

#include <utility>

namespace onesearch {

std::shared_ptr<const SidTrie> SidTrie::build(const CatalogueCodes& catalogue) {
  Bytes image = build_image(catalogue);
  const SidTrieView view = open_image(image, "SidTrie.build");
  return std::shared_ptr<const SidTrie>(new SidTrie(std::move(image), view));
}

std::shared_ptr<const SidTrie> SidTrie::assemble(const TrieShape& shape, const FillSection& fill) {
  Bytes image = make_image(shape);
  for (const SectionEntry& section : sections_of(image)) {
    fill(section, image.data() + section.offset);
  }
  seal_image(image);
  const SidTrieView view = open_image(image, "SidTrie.assemble");
  return std::shared_ptr<const SidTrie>(new SidTrie(std::move(image), view));
}

std::shared_ptr<const SidTrie> SidTrie::load(const std::string& path, bool verify) {
  Bytes image = Bytes::map(path);
  const std::string where = "SidTrie.load: " + path;
  const SidTrieView view = open_image(image, where);
  if (verify) verify_image(image, where);
  return std::shared_ptr<const SidTrie>(new SidTrie(std::move(image), view));
}

void SidTrie::save(const std::string& path) const { write_file(path, image_); }

void SidTrie::verify() const { verify_image(image_, "SidTrie.verify"); }

}  // namespace onesearch
