// The files of a live store: where they are, who may write them, which are no longer needed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/file.h"

namespace onesearch {

class StoreFolder {
 public:
  // Makes the folder; one that exists must be empty. Both keep the folder locked until destroyed,
  // and throw InvalidArgument when another store, in this process or another, has it open.
  static StoreFolder create(const std::string& path);
  static StoreFolder open(const std::string& path);

  const std::string& path() const { return path_; }
  std::string journal(uint64_t number) const;
  std::string generation(uint64_t number) const;
  std::string unfinished_journal(uint64_t generation) const;

  // Lets others open the store.
  void unlock() { lock_ = File(); }

  // Numbers of the journals and generations there are, ascending.
  std::vector<uint64_t> journals() const;
  std::vector<uint64_t> generations() const;

  // What cannot be removed stays, and is in the way of nothing. An unfinished journal goes with its
  // generation.
  void remove_journal(uint64_t number) const noexcept;
  void remove_generation(uint64_t number) const noexcept;

  // Removes other journals and generations than these, and what a process left unfinished.
  void sweep(const std::vector<uint64_t>& journals, const std::vector<uint64_t>& generations) const;

 private:
  StoreFolder(std::string path, const char* where);

  std::string path_;
  File lock_;
};

}  // namespace onesearch
