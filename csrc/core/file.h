// A file descriptor that closes itself. What fails throws IoError with the path.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace onesearch {

class File {
 public:
  File() = default;
  File(const std::string& path, int flags);  // as open(2)
  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;
  ~File();

  const std::string& path() const { return path_; }

  void write_at(uint64_t offset, const void* bytes, size_t size) const;
  void truncate(uint64_t size) const;

  // Content and size reach the disk.
  void sync() const;

  // False when another open file, of this process or another, holds the lock. The lock ends with
  // the process, however that ends.
  bool try_lock() const;

 private:
  std::string path_;
  int descriptor_ = -1;
};

// What was made, renamed or removed in the folder reaches the disk.
void sync_folder(const std::string& folder);

}  // namespace onesearch
