// What fuzzing does with the bytes of a journal.
#pragma once

#include <string>

#include "catalogue.h"

namespace onesearch::testing {

// A small store with updates of every kind, whose journal can be replaced by any bytes.
class JournalFolder {
 public:
  JournalFolder();

  const std::string& journal() const { return journal_; }

  // Opens the store with this journal; where it opens, asks everything of it, goes back to every
  // version, and updates it once more. False when it is refused.
  bool open_with(const std::string& journal) const;

 private:
  std::string path() const { return file_.path() + ".store"; }
  std::string journal_path() const { return path() + "/journal-1.bin"; }

  ScratchFile file_;
  std::string journal_;
};

// Sets the checksums of the header and of the records as far as they can be followed.
void reseal_journal(std::string& bytes);

}  // namespace onesearch::testing
