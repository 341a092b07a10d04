#include "catalogue.h"

#include <cstdlib>
#include <filesystem>
#include <stdexcept>

namespace onesearch::testing {

ScratchFile::ScratchFile() {
  std::string folder = std::filesystem::temp_directory_path() / "onesearch_test_XXXXXX";
  if (mkdtemp(folder.data()) == nullptr) throw std::runtime_error("no temporary folder");
  folder_ = folder;
  path_ = folder + "/trie.bin";
}

ScratchFile::~ScratchFile() { std::filesystem::remove_all(folder_); }

}  // namespace onesearch::testing
