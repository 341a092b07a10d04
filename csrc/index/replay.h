// From a journal back to the content of a version.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "index/journal.h"
#include "index/snapshot.h"
#include "index/update.h"

namespace onesearch {

// Whether the journal leads to `version`: its first one, or that of a record.
bool has_version(const JournalFile& file, uint64_t version);

// The content after the record of `version`, which the journal has. A rollback stands for what led
// to the version it went back to.
// Throws StoreFormatError when the records make no sense over the generation.
Snapshot::Content replay(std::shared_ptr<const Generation> generation, const JournalFile& file,
                         uint64_t version);

}  // namespace onesearch
