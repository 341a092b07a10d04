#include "index/store_folder.h"

#include <fcntl.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "core/error.h"

namespace onesearch {
namespace {

namespace fs = std::filesystem;

constexpr char kJournal[] = "journal-";
constexpr char kJournalEnd[] = ".bin";
constexpr char kGeneration[] = "generation-";
constexpr char kUnfinished[] = ".tmp";
constexpr char kLock[] = "lock";

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

// The number in `<begin><number><end>`, or -1 for another name.
int64_t number_in(const std::string& name, const std::string& begin, const std::string& end) {
  const size_t frame = begin.size() + end.size();
  if (name.size() <= frame || name.size() > frame + 18) return -1;
  if (name.compare(0, begin.size(), begin) != 0 || !ends_with(name, end)) return -1;
  const std::string digits = name.substr(begin.size(), name.size() - frame);
  const bool numeric =
      std::all_of(digits.begin(), digits.end(), [](unsigned char c) { return std::isdigit(c); });
  return numeric ? std::stoll(digits) : -1;
}

std::vector<std::string> names_in(const std::string& path) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator at(path, error), end; !error && at != end; at.increment(error)) {
    names.push_back(at->path().filename().string());
  }
  if (error) throw IoError(error.value(), path);
  return names;
}

std::vector<uint64_t> numbers_in(const std::string& path, const char* begin, const char* end) {
  std::vector<uint64_t> numbers;
  for (const std::string& name : names_in(path)) {
    const int64_t number = number_in(name, begin, end);
    if (number >= 0) numbers.push_back(static_cast<uint64_t>(number));
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

void remove(const std::string& path) noexcept {
  std::error_code ignored;
  fs::remove_all(path, ignored);
}

}  // namespace

StoreFolder::StoreFolder(std::string path, const char* where)
    : path_(std::move(path)), lock_(path_ + "/" + kLock, O_RDWR | O_CREAT) {
  if (lock_.try_lock()) return;
  throw InvalidArgument(complaint(where, "folder", "a store that nobody has open",
                                  "one that is open: " + path_, "close the other first"));
}

StoreFolder StoreFolder::create(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) throw IoError(error.value(), path);
  StoreFolder folder(path, "LiveStore.create");
  for (const std::string& name : names_in(path)) {
    if (name != kLock) throw IoError(EEXIST, path);
  }
  return folder;
}

StoreFolder StoreFolder::open(const std::string& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) throw IoError(error ? error.value() : ENOTDIR, path);
  return StoreFolder(path, "LiveStore.open");
}

std::string StoreFolder::journal(uint64_t number) const {
  return path_ + "/" + kJournal + std::to_string(number) + kJournalEnd;
}

std::string StoreFolder::generation(uint64_t number) const {
  return path_ + "/" + kGeneration + std::to_string(number);
}

std::string StoreFolder::unfinished_journal(uint64_t generation) const {
  return path_ + "/" + kJournal + "of-generation-" + std::to_string(generation) + kUnfinished;
}

std::vector<uint64_t> StoreFolder::journals() const {
  return numbers_in(path_, kJournal, kJournalEnd);
}

std::vector<uint64_t> StoreFolder::generations() const {
  return numbers_in(path_, kGeneration, "");
}

void StoreFolder::remove_journal(uint64_t number) const noexcept { remove(journal(number)); }

void StoreFolder::remove_generation(uint64_t number) const noexcept {
  remove(unfinished_journal(number));
  remove(generation(number));
}

void StoreFolder::sweep(const std::vector<uint64_t>& kept_journals,
                        const std::vector<uint64_t>& kept_generations) const {
  const auto kept = [](const std::vector<uint64_t>& numbers, uint64_t number) {
    return std::find(numbers.begin(), numbers.end(), number) != numbers.end();
  };
  for (const uint64_t number : journals()) {
    if (!kept(kept_journals, number)) remove_journal(number);
  }
  for (const uint64_t number : generations()) {
    if (!kept(kept_generations, number)) remove_generation(number);
  }
  for (const std::string& name : names_in(path_)) {
    if (ends_with(name, kUnfinished)) remove(path_ + "/" + name);
  }
}

}  // namespace onesearch
