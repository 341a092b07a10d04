// A block of bytes: memory of its own, or a file mapped read-only.
#pragma once

#include <cstddef>
#include <string>

namespace onesearch {

class Bytes {
 public:
  // Zeroed, aligned to a page, and touched only where it is written.
  static Bytes allocate(size_t size);
  static Bytes map(const std::string& path);

  Bytes() = default;
  Bytes(Bytes&& other) noexcept;
  Bytes& operator=(Bytes&& other) noexcept;
  ~Bytes();

  unsigned char* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  Bytes(unsigned char* data, size_t size) : data_(data), size_(size) {}

  unsigned char* data_ = nullptr;
  size_t size_ = 0;
};

// Writes the bytes to `path`: the file is whole or untouched, whatever happens.
void write_file(const std::string& path, const Bytes& bytes);

}  // namespace onesearch
