#include "index/generation.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "core/error.h"

namespace onesearch {
namespace {

constexpr char kTrieFile[] = "/trie.bin";
constexpr char kColumnsFile[] = "/columns.bin";

}  // namespace

std::shared_ptr<const Generation> Generation::save(const std::string& folder, uint64_t number,
                                                   const SidTrie& trie,
                                                   const ItemColumns* columns) {
  if (mkdir(folder.c_str(), 0777) != 0) throw IoError(errno, folder);
  trie.save(folder + kTrieFile);
  if (columns != nullptr) columns->save(folder + kColumnsFile);
  return load(folder, number, false);
}

std::shared_ptr<const Generation> Generation::load(const std::string& folder, uint64_t number,
                                                   bool verify) {
  std::shared_ptr<const SidTrie> trie = SidTrie::load(folder + kTrieFile, verify);
  ItemColumnsHandle columns;
  const std::string path = folder + kColumnsFile;
  if (access(path.c_str(), F_OK) == 0) {
    columns = ItemColumns::load(path, verify);
    if (columns->catalogue() != trie->fingerprint()) {
      throw StoreFormatError(complaint("LiveStore.open: " + path, "columns",
                                       "those of the trie beside them", "others"));
    }
  }
  return std::shared_ptr<const Generation>(
      new Generation(number, std::move(trie), std::move(columns)));
}

}  // namespace onesearch
