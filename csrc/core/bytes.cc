#include "core/bytes.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <new>
#include <utility>

#include "core/error.h"

namespace onesearch {
namespace {

void sync_folder_of(const std::string& path) {
  const size_t slash = path.find_last_of('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const int descriptor = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) throw IoError(errno, folder);
  const int status = fsync(descriptor);
  const int code = errno;
  close(descriptor);
  // Some file systems cannot sync a folder; the rename itself has happened.
  if (status != 0 && code != EINVAL) throw IoError(code, folder);
}

// Maps a new file whose room on the disk is taken at once: a write to a page without room would
// kill the process.
unsigned char* map_new(int descriptor, size_t size, const std::string& name) {
  const int code = posix_fallocate(descriptor, 0, static_cast<off_t>(size));
  if (code != 0) throw IoError(code, name);
  void* data = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  if (data == MAP_FAILED) throw IoError(errno, name);
  return static_cast<unsigned char*>(data);
}

}  // namespace

Bytes Bytes::allocate(size_t size) {
  void* data = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) throw std::bad_alloc();
  // Advice only: a build scatters through the whole image, and a trie is read at random.
  madvise(data, size, MADV_HUGEPAGE);
  return Bytes(static_cast<unsigned char*>(data), size);
}

Bytes Bytes::scratch(const std::string& folder, size_t size) {
  // The name goes with the NewFile, the file with the last map of it.
  return NewFile(folder + "/onesearch-scratch").map(size);
}

Bytes Bytes::map(const std::string& path) {
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) throw IoError(errno, path);
  struct stat status;
  int code = fstat(descriptor, &status) == 0 ? 0 : errno;
  if (code == 0 && S_ISDIR(status.st_mode)) code = EISDIR;
  void* data = nullptr;
  const auto size = code == 0 ? static_cast<size_t>(status.st_size) : 0;
  if (size > 0) {
    data = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (data == MAP_FAILED) code = errno;
  }
  close(descriptor);
  if (code != 0) throw IoError(code, path);
  return Bytes(static_cast<unsigned char*>(data), size);
}

Bytes::Bytes(Bytes&& other) noexcept { *this = std::move(other); }

Bytes& Bytes::operator=(Bytes&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

Bytes::~Bytes() {
  if (data_ != nullptr) munmap(data_, size_);
}

NewFile::NewFile(const std::string& target) : target_(target) {
  static std::atomic<uint32_t> counter{0};
  do {
    name_ = target + "." + std::to_string(getpid()) + "-" + std::to_string(counter++) + ".tmp";
    descriptor_ = open(name_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  } while (descriptor_ < 0 && errno == EEXIST);
  if (descriptor_ < 0) throw IoError(errno, target);
}

NewFile::~NewFile() {
  if (descriptor_ >= 0) close(descriptor_);
  if (!name_.empty()) unlink(name_.c_str());
}

void NewFile::write(const unsigned char* bytes, size_t size) {
  while (size > 0) {
    const ssize_t written = ::write(descriptor_, bytes, size);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) throw IoError(errno, target_);
    bytes += written;
    size -= static_cast<size_t>(written);
  }
}

Bytes NewFile::map(size_t size) { return Bytes(map_new(descriptor_, size, target_), size); }

void NewFile::publish() {
  if (fsync(descriptor_) != 0) throw IoError(errno, target_);
  const int closed = close(descriptor_);
  descriptor_ = -1;
  if (closed != 0) throw IoError(errno, target_);
  if (rename(name_.c_str(), target_.c_str()) != 0) throw IoError(errno, target_);
  name_.clear();
  sync_folder_of(target_);
}

void write_file(const std::string& path, const Bytes& bytes) {
  NewFile file(path);
  file.write(bytes.data(), bytes.size());
  file.publish();
}

}  // namespace onesearch
