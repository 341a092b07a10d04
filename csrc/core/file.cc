#include "core/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "core/error.h"

namespace onesearch {

File::File(const std::string& path, int flags)
    : path_(path), descriptor_(open(path.c_str(), flags | O_CLOEXEC, 0666)) {
  if (descriptor_ < 0) throw IoError(errno, path);
}

File::File(File&& other) noexcept { *this = std::move(other); }

File& File::operator=(File&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

File::~File() {
  if (descriptor_ >= 0) close(descriptor_);
}

void File::write_at(uint64_t offset, const void* bytes, size_t size) const {
  const auto* at = static_cast<const unsigned char*>(bytes);
  while (size > 0) {
    const ssize_t written = pwrite(descriptor_, at, size, static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) throw IoError(errno, path_);
    at += written;
    offset += static_cast<uint64_t>(written);
    size -= static_cast<size_t>(written);
  }
}

void File::truncate(uint64_t size) const {
  if (ftruncate(descriptor_, static_cast<off_t>(size)) != 0) throw IoError(errno, path_);
}

void File::sync() const {
#if defined(__APPLE__)
  const int status = fsync(descriptor_);
#else
  const int status = fdatasync(descriptor_);
#endif
  if (status != 0) throw IoError(errno, path_);
}

bool File::try_lock() const {
  if (flock(descriptor_, LOCK_EX | LOCK_NB) == 0) return true;
  if (errno == EWOULDBLOCK) return false;
  throw IoError(errno, path_);
}

void sync_folder(const std::string& folder) {
  const int descriptor = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) throw IoError(errno, folder);
  const int status = fsync(descriptor);
  const int code = errno;
  close(descriptor);
  // Some file systems cannot sync a folder.
  if (status != 0 && code != EINVAL) throw IoError(code, folder);
}

}  // namespace onesearch
