// Systematic mutations of small files, for every build without libFuzzer.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <random>

#include "catalogue.h"
#include "check.h"
#include "fuzz_journal.h"
#include "fuzz_targets.h"
#include "fuzz_trie_file.h"

using namespace onesearch;
using namespace onesearch::testing;

namespace {

std::vector<uint8_t> file_of(const CatalogueCodes& input) {
  const auto trie = SidTrie::build(input);
  const ScratchFile file;
  trie->save(file.path());
  std::vector<uint8_t> bytes(trie->nbytes());
  std::FILE* stream = std::fopen(file.path().c_str(), "rb");
  CHECK_EQUAL(std::fread(bytes.data(), 1, bytes.size(), stream), bytes.size());
  std::fclose(stream);
  return bytes;
}

// Between them: every kind of section, partitions in every form, and words past the first.
std::vector<std::vector<uint8_t>> files() {
  std::vector<std::vector<uint8_t>> files;
  for (const auto& catalogue : {random_catalogue(1, {3, 4}, 1), random_catalogue(2, {40, 300}, 25),
                                random_catalogue(3, {4, 60, 60, 60}, 150),
                                random_catalogue(4, {2, 3, 2, 3, 2, 3, 2, 3}, 20)}) {
    files.push_back(file_of(catalogue.input()));
  }
  const RandomCatalogue catalogue = random_catalogue(5, {5, 50, 50}, 30);
  CatalogueCodes input = catalogue.input();
  input.item_ids = nullptr;
  input.keep_scores = true;
  files.push_back(file_of(input));
  return files;
}

// As the fuzzer would call it, resealed or not.
void fuzz(const std::vector<uint8_t>& bytes, bool resealed) {
  std::vector<uint8_t> input = {static_cast<uint8_t>(resealed)};
  input.insert(input.end(), bytes.begin(), bytes.end());
  fuzz_trie_file(input.data(), input.size());
}

}  // namespace

TEST(resealing_a_sound_file_changes_nothing) {
  for (const auto& bytes : files()) {
    std::vector<uint8_t> resealed = bytes;
    reseal(resealed);
    CHECK(resealed == bytes);
    const auto trie = load_bytes(bytes, true);
    CHECK(trie != nullptr);
    CHECK(is_consistent(*trie));
    query_everything(trie);
  }
}

TEST(every_altered_byte_is_noticed) {
  for (const auto& bytes : files()) {
    for (size_t i = 0; i < bytes.size(); ++i) {
      for (const uint8_t flip : {0x01, 0x80, 0xff}) {
        std::vector<uint8_t> altered = bytes;
        altered[i] ^= flip;
        if (load_bytes(altered, true) != nullptr) {
          fail(__FILE__, __LINE__, "unnoticed at byte " + std::to_string(i));
        }
        if (flip == 0xff) fuzz(altered, false);
      }
    }
  }
}

TEST(altered_bytes_with_right_checksums_do_no_harm) {
  for (const auto& bytes : files()) {
    for (size_t i = 0; i < bytes.size(); ++i) {
      for (const uint8_t flip : {0x01, 0xff}) {
        std::vector<uint8_t> altered = bytes;
        altered[i] ^= flip;
        fuzz(altered, true);
      }
    }
  }
}

TEST(truncated_and_extended_files_are_refused) {
  for (const auto& bytes : files()) {
    for (size_t size = 0; size < bytes.size(); ++size) {
      const std::vector<uint8_t> shorter(bytes.begin(), bytes.begin() + size);
      CHECK(load_bytes(shorter, false) == nullptr);
    }
    std::vector<uint8_t> longer = bytes;
    longer.push_back(0);
    CHECK(load_bytes(longer, false) == nullptr);
  }
}

TEST(hostile_numbers_do_no_harm) {
  const uint32_t hostile[] = {0, 1, 2, 9, 65536, 0x7fffffff, 0x80000000, 0xffffffff};
  for (const auto& bytes : files()) {
    for (size_t i = 0; i + 4 <= bytes.size(); i += 4) {
      for (const uint32_t value : hostile) {
        std::vector<uint8_t> altered = bytes;
        std::memcpy(altered.data() + i, &value, sizeof value);
        fuzz(altered, true);
      }
    }
  }
}

TEST(many_mutations_at_once_do_no_harm) {
  std::mt19937 random(1);
  for (const auto& bytes : files()) {
    for (int round = 0; round < 1500; ++round) {
      std::vector<uint8_t> altered = bytes;
      for (uint32_t left = 1 + random() % 40; left > 0; --left) {
        // Behind the header mostly: what breaks the header is refused at once.
        const size_t from = random() % 8 == 0 ? 0 : std::min<size_t>(512, bytes.size() / 2);
        altered[from + random() % (bytes.size() - from)] = static_cast<uint8_t>(random());
      }
      fuzz(altered, true);
    }
  }
}

TEST(journals_with_altered_bytes_and_right_checksums_do_no_harm) {
  const JournalFolder folder;
  CHECK(folder.open_with(folder.journal()));
  std::string resealed = folder.journal();
  reseal_journal(resealed);
  CHECK(resealed == folder.journal());
  for (size_t i = 0; i < resealed.size(); ++i) {
    std::string altered = folder.journal();
    altered[i] = static_cast<char>(altered[i] ^ (i % 2 == 0 ? 0x01 : 0xff));
    reseal_journal(altered);
    folder.open_with(altered);
  }
}

TEST(journals_with_hostile_numbers_do_no_harm) {
  const JournalFolder folder;
  std::mt19937 random(2);
  const uint64_t hostile[] = {0, 1, 0x7fffffff, 0xffffffff, 0x7fffffffffffffff, ~uint64_t{0}};
  for (int round = 0; round < 600; ++round) {
    std::string altered = folder.journal();
    for (uint32_t left = 1 + random() % 3; left > 0; --left) {
      const size_t at = random() % (altered.size() / 8) * 8;
      std::memcpy(altered.data() + at, &hostile[random() % 6], 8);
    }
    reseal_journal(altered);
    folder.open_with(altered);
  }
}
