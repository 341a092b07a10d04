// Catalogues and filters packed into one block of bytes that works at an address of a device's
// memory: what a search reads of them, pointers included, and nothing else. Made by copying, so
// that uploading is one transfer.
#pragma once

#include <cstddef>
#include <cstdint>

#include "index/catalogue_view.h"

namespace onesearch {

// Lays arrays out behind one another, as they will stand from `address` on.
class ImagePacker {
 public:
  static constexpr size_t kAlignment = 64;

  // Without `to` nothing is copied: bytes() then says how many it takes. `address` is aligned.
  explicit ImagePacker(uint64_t address, unsigned char* to = nullptr)
      : address_(address), to_(to) {}

  size_t bytes() const { return (end_ + kAlignment - 1) / kAlignment * kAlignment; }

  // Copies n bytes; where they will stand. Null stays null.
  const void* add(const void* from, size_t n);

  template <class T>
  const T* array(const T* from, size_t n) {
    return static_cast<const T*>(add(from, n * sizeof(T)));
  }

 private:
  uint64_t address_;
  unsigned char* to_;
  size_t end_ = 0;
};

// The views of what was packed. Ids, rows and scores of items stay behind.
SidTrieView pack_trie(const SidTrieView& trie, ImagePacker* packer);

// All but the base trie, which versions of one generation share: its view is left empty.
CatalogueView pack_changes(const CatalogueView& catalogue, ImagePacker* packer);

// Over the items of this catalogue.
CatalogueFilterView pack_filter(const CatalogueFilterView& filter, const CatalogueView& catalogue,
                                ImagePacker* packer);

}  // namespace onesearch
