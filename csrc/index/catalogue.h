// What a search can run over: a trie, or one version of a live catalogue. A filter belongs to
// exactly one of them.
#pragma once

#include "index/catalogue_view.h"

namespace onesearch {

class Catalogue {
 public:
  virtual ~Catalogue() = default;

  // Valid as long as this object lives.
  virtual const CatalogueView& catalogue_view() const = 0;
};

}  // namespace onesearch
