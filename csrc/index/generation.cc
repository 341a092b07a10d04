#include "index/generation.h"

#include <sys/stat.h>

#include <cerrno>

#include "core/error.h"

namespace onesearch {
namespace {

constexpr char kTrieFile[] = "/trie.bin";

}  // namespace

std::shared_ptr<const Generation> Generation::save(const std::string& folder, uint64_t number,
                                                   const SidTrie& trie) {
  if (mkdir(folder.c_str(), 0777) != 0) throw IoError(errno, folder);
  trie.save(folder + kTrieFile);
  return load(folder, number, false);
}

std::shared_ptr<const Generation> Generation::load(const std::string& folder, uint64_t number,
                                                   bool verify) {
  return std::make_shared<const Generation>(number, SidTrie::load(folder + kTrieFile, verify));
}

}  // namespace onesearch
