// A block of bytes: memory of its own, or a file that is mapped.
#pragma once

#include <cstddef>
#include <functional>
#include <string>

namespace onesearch {

class Bytes {
 public:
  // Zeroed, aligned to a page, and touched only where it is written.
  static Bytes allocate(size_t size);
  // The same in a file of `folder` that has no name and goes with the bytes: the system can write
  // it out where memory is short. Throws IoError where the disk has no room for it.
  static Bytes scratch(const std::string& folder, size_t size);
  // An existing file, read-only.
  static Bytes map(const std::string& path);

  Bytes() = default;
  Bytes(Bytes&& other) noexcept;
  Bytes& operator=(Bytes&& other) noexcept;
  ~Bytes();

  unsigned char* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  friend class NewFile;

  Bytes(unsigned char* data, size_t size) : data_(data), size_(size) {}

  unsigned char* data_ = nullptr;
  size_t size_ = 0;
};

// Where bytes are to be made.
using MakeBytes = std::function<Bytes(size_t size)>;

// A file under construction beside its target: gone unless it is published. What a process that was
// killed leaves of one, the next for the same target removes.
class NewFile {
 public:
  explicit NewFile(const std::string& target);
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;
  ~NewFile();

  void write(const unsigned char* bytes, size_t size);

  // The whole content, zeroed, to be written in place.
  Bytes map(size_t size);

  // Takes the place of the target, which is whole at every moment and survives a loss of power.
  void publish();

  // Without a name the file goes with the last map of it.
  void remove_name();

 private:
  bool create();

  std::string target_;  // what errors name: the temporary name says nothing to a caller
  std::string name_;
  int descriptor_ = -1;
};

// Writes the bytes to `path`: the file is whole or untouched, whatever happens.
void write_file(const std::string& path, const Bytes& bytes);

}  // namespace onesearch
