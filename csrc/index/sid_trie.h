// The owner of a trie: immutable once made, safe to read from any number of threads.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/tensor_view.h"
#include "index/catalogue.h"
#include "index/sid_trie_view.h"
#include "index/trie_builder.h"
#include "index/trie_image.h"

namespace onesearch {

class SidTrie : public Catalogue {
 public:
  static std::shared_ptr<const SidTrie> build(const CatalogueCodes& catalogue);

  // From sections that were made elsewhere: `fill` writes each, in the order of the file.
  using FillSection = std::function<void(const SectionEntry& section, unsigned char* to)>;
  static std::shared_ptr<const SidTrie> assemble(const TrieShape& shape, const FillSection& fill);

  // Maps the file. `verify` reads every byte once and checks all rules of the format; without it
  // only header and section table are checked, and whatever is out of range elsewhere counts as
  // absent.
  static std::shared_ptr<const SidTrie> load(const std::string& path, bool verify);

  // The file at `path` is whole or untouched.
  void save(const std::string& path) const;

  // Throws FormatError unless every checksum and every rule of the format holds.
  void verify() const;

  const SidTrieView& view() const { return catalogue_view_.base; }
  const CatalogueView& catalogue_view() const override { return catalogue_view_; }
  size_t nbytes() const { return image_.size(); }

  // Names the content: equal for tries of equal bytes.
  uint64_t fingerprint() const { return fingerprint_of(image_); }

  // Queries are over rows, and split over threads. A node or rank of -1 stands for none.

  // codes [n, num_levels] integers, any strides -> ranks [n], -1 for a SID that is absent.
  void rank(const TensorView& codes, int64_t* ranks) const;

  // item_ids [n] -> ranks [n] of their SIDs, -1 for an id that is absent.
  void rank_of(const int64_t* item_ids, int64_t n, int64_t* ranks) const;

  // Positions [n], each in [0, num_items) -> ranks [n] of their SIDs.
  void rank_at(const int64_t* positions, int64_t n, int64_t* ranks) const;

  // ranks [n] -> codes [n, num_levels], contiguous; a row of -1 for rank -1.
  void codes(const int64_t* ranks, int64_t n, int32_t* codes) const;

  // The child of each of nodes [n] of `level` < num_levels by each of tokens [n], or -1.
  void child(int level, const int64_t* nodes, const int64_t* tokens, int64_t n,
             int64_t* children) const;

  // nodes [n] of `level` -> the range below each, empty (0, 0) for a node that does not exist: its
  // children, nodes of level + 1; ranks; positions of items.
  void child_range(int level, const int64_t* nodes, int64_t n, int64_t* begin, int64_t* end) const;
  void rank_range(int level, const int64_t* nodes, int64_t n, int64_t* begin, int64_t* end) const;
  void item_range(int level, const int64_t* nodes, int64_t n, int64_t* begin, int64_t* end) const;

  // nodes [n] of `level` < num_levels -> offsets [n + 1] into a list of their children's tokens.
  void child_offsets(int level, const int64_t* nodes, int64_t n, int64_t* offsets) const;

  // Fills the list that `offsets` describes.
  void child_tokens(int level, const int64_t* nodes, int64_t n, const int64_t* offsets,
                    int32_t* tokens) const;

  // ranks [n] -> offsets [n + 1] into a list of their items.
  void item_offsets(const int64_t* ranks, int64_t n, int64_t* offsets) const;

  // Fills the list that `offsets` describes.
  void items(const int64_t* ranks, int64_t n, const int64_t* offsets, int64_t* item_ids) const;

  // The section table: what takes how many bytes.
  std::vector<SectionEntry> sections() const { return sections_of(image_); }

  // Throws InvalidArgument unless 0 <= level <= last.
  void check_level(const char* where, int level, int last) const;

 private:
  SidTrie(Bytes image, const SidTrieView& view) : image_(std::move(image)) {
    catalogue_view_.base = view;
  }

  void check_ranks(const char* where, const int64_t* ranks, int64_t n) const;

  Bytes image_;
  CatalogueView catalogue_view_;
};

}  // namespace onesearch
