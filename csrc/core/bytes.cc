#include "core/bytes.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <new>
#include <system_error>
#include <utility>

#include "core/error.h"
#include "core/file.h"

namespace onesearch {
namespace {

namespace fs = std::filesystem;

constexpr char kUnfinishedEnd[] = ".tmp";

std::string folder_of(const std::string& path) {
  const size_t slash = path.find_last_of('/');
  return slash == std::string::npos ? "." : path.substr(0, slash + 1);
}

// The name of a file under construction, as NewFile makes them: <target>.<process>-<number>.tmp
bool is_unfinished(const std::string& name, const std::string& target) {
  constexpr size_t kEndSize = sizeof kUnfinishedEnd - 1;
  if (name.size() <= target.size() + kEndSize) return false;
  const size_t end = name.size() - kEndSize;
  return name.compare(0, target.size(), target) == 0 && name[target.size()] == '.' &&
         name.compare(end, kEndSize, kUnfinishedEnd) == 0 &&
         name.find_first_not_of("0123456789-", target.size() + 1) == end;
}

// Its maker holds the lock of a file under construction, so that of one whose maker died is free.
bool try_lock(int descriptor) { return flock(descriptor, LOCK_EX | LOCK_NB) == 0; }

// Removes what processes that died left of the same target.
void remove_abandoned(const std::string& target) {
  const std::string folder = folder_of(target);
  const std::string name = target.substr(target.find_last_of('/') + 1);
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    if (!is_unfinished(at->path().filename().string(), name)) continue;
    const int descriptor = open(at->path().c_str(), O_RDWR | O_CLOEXEC);
    if (descriptor < 0) continue;
    if (try_lock(descriptor)) unlink(at->path().c_str());
    close(descriptor);
  }
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
  NewFile file(folder + "/onesearch-scratch");
  file.remove_name();  // before it takes room; the file goes with the last map of it
  return file.map(size);
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
  remove_abandoned(target);
  while (!create()) {
  }
}

NewFile::~NewFile() {
  remove_name();
  if (descriptor_ >= 0) close(descriptor_);
}

// False when the name is taken, or the file was taken for an abandoned one before it was locked.
bool NewFile::create() {
  static std::atomic<uint32_t> counter{0};
  const std::string number = std::to_string(getpid()) + "-" + std::to_string(counter++);
  const std::string name = target_ + "." + number + kUnfinishedEnd;
  descriptor_ = open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (descriptor_ < 0 && errno == EEXIST) return false;
  if (descriptor_ < 0) throw IoError(errno, target_);
  // Where a file system has no locks, none of its files are taken for abandoned.
  const bool locked = try_lock(descriptor_) || errno != EWOULDBLOCK;
  struct stat status;
  if (locked && fstat(descriptor_, &status) == 0 && status.st_nlink > 0) {
    name_ = name;
    return true;
  }
  close(descriptor_);
  descriptor_ = -1;
  return false;
}

void NewFile::remove_name() {
  if (!name_.empty()) unlink(name_.c_str());
  name_.clear();
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
  if (rename(name_.c_str(), target_.c_str()) != 0) throw IoError(errno, target_);
  name_.clear();
  sync_folder(folder_of(target_));
}

void write_file(const std::string& path, const Bytes& bytes) {
  NewFile file(path);
  file.write(bytes.data(), bytes.size());
  file.publish();
}

}  // namespace onesearch
