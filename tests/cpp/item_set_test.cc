#include "index/item_set.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "check.h"

using namespace onesearch;

namespace {

using Members = std::vector<bool>;

const std::vector<uint32_t> kSizes = {1,   63,    64,    65,    511,    512,
                                      513, 65535, 65536, 65537, 131072, 200000};

std::vector<uint64_t> words_of(const Members& members) {
  std::vector<uint64_t> words((members.size() + 63) / 64);
  for (size_t i = 0; i < members.size(); ++i) words[i / 64] |= uint64_t{members[i]} << (i % 64);
  return words;
}

ItemSetHandle set_of(const Members& members) {
  return ItemSet::from_words(static_cast<uint32_t>(members.size()), words_of(members).data());
}

// Runs of members and gaps of all lengths, so that blocks and chunks are empty, full and mixed.
Members random_members(std::mt19937& random, uint32_t n) {
  Members members(n);
  for (uint32_t at = 0; at < n;) {
    const uint32_t run = 1 + random() % (1u << (random() % 19));
    const bool dotted = random() % 3 == 0;
    const bool member = random() % 2 == 0;
    for (uint32_t end = std::min(n, at + run); at < end; ++at) {
      members[at] = dotted ? random() % 2 == 0 : member;
    }
  }
  return members;
}

// Members before each position.
std::vector<uint32_t> counts_of(const Members& members) {
  std::vector<uint32_t> before(members.size() + 1);
  for (size_t i = 0; i < members.size(); ++i) before[i + 1] = before[i] + members[i];
  return before;
}

NodeRange random_range(std::mt19937& random, uint32_t n) {
  const uint32_t begin = random() % (n + 1);
  const uint32_t size = random() % (1u << (random() % 18));
  return {begin, std::min(n, begin + size)};
}

void check_set(const ItemSet& set, const Members& members) {
  const auto n = static_cast<uint32_t>(members.size());
  const ItemSetView view = set.view();
  std::vector<uint64_t> words((n + 63) / 64);
  set.to_words(words.data());
  CHECK(words == words_of(members));
  const std::vector<uint32_t> before = counts_of(members);
  CHECK_EQUAL(set.count(), before[n]);
  CHECK_EQUAL(view.is_everything(), before[n] == n);
  std::mt19937 random(n);
  for (int i = 0; i < 300; ++i) {
    const NodeRange range = i == 0 ? NodeRange{0, n} : random_range(random, n);
    CHECK_EQUAL(view.any(range), before[range.begin] < before[range.end]);
    CHECK_EQUAL(view.count_before(range.end), before[range.end]);
    if (range.begin < n) CHECK_EQUAL(view.has(range.begin), members[range.begin]);
  }
}

}  // namespace

TEST(sets_of_words_are_those_words) {
  std::mt19937 random(1);
  for (const uint32_t n : kSizes) {
    const Members members = random_members(random, n);
    check_set(*set_of(members), members);
    check_set(*set_of(Members(n)), Members(n));
    check_set(*set_of(Members(n, true)), Members(n, true));
    check_set(*ItemSet::nothing(n), Members(n));
    check_set(*ItemSet::everything(n), Members(n, true));
  }
}

TEST(bits_past_the_last_item_are_ignored) {
  const std::vector<uint64_t> words(ItemChunk::kWords, ~uint64_t{0});
  for (const uint32_t n : {1, 64, 600, 65535}) {
    CHECK_EQUAL(ItemSet::from_words(n, words.data())->count(), n);
  }
}

TEST(combinations_are_those_of_their_members) {
  std::mt19937 random(2);
  for (const uint32_t n : kSizes) {
    const Members a = random_members(random, n);
    for (const Members& b : {random_members(random, n), Members(n), Members(n, true)}) {
      Members both(n);
      Members either(n);
      Members only_a(n);
      for (uint32_t i = 0; i < n; ++i) {
        both[i] = a[i] && b[i];
        either[i] = a[i] || b[i];
        only_a[i] = a[i] && !b[i];
      }
      using Operation = ItemSet::Operation;
      check_set(*ItemSet::combine(Operation::kAnd, *set_of(a), *set_of(b)), both);
      check_set(*ItemSet::combine(Operation::kAnd, *set_of(b), *set_of(a)), both);
      check_set(*ItemSet::combine(Operation::kOr, *set_of(a), *set_of(b)), either);
      check_set(*ItemSet::combine(Operation::kOr, *set_of(b), *set_of(a)), either);
      check_set(*ItemSet::combine(Operation::kAndNot, *set_of(a), *set_of(b)), only_a);
    }
  }
}

TEST(an_altered_set_leaves_its_origin_as_it_was) {
  std::mt19937 random(3);
  for (const uint32_t n : kSizes) {
    Members members(n, true);
    ItemSetHandle set = ItemSet::everything(n);
    for (const size_t batch : {0, 1, 5, 3000}) {
      for (const bool member : {false, true}) {
        const Members before = members;
        std::vector<uint32_t> positions(batch);
        for (uint32_t& position : positions) {
          position = random() % n;
          members[position] = member;
        }
        const ItemSetHandle altered = member ? set->with_set(positions.data(), batch)
                                             : set->with_cleared(positions.data(), batch);
        check_set(*altered, members);
        check_set(*set, before);
        set = altered;
      }
    }
  }
}

TEST(pages_of_chunks_are_altered_alone) {
  constexpr uint32_t kItems = 3 * 64 * ItemChunk::kBits + 5;
  const std::vector<uint32_t> positions = {kItems - 1, 65 * ItemChunk::kBits, 3};
  const ItemSetHandle set = ItemSet::everything(kItems)->with_cleared(positions.data(), 3);
  CHECK_EQUAL(set->count(), kItems - 3);
  for (const uint32_t position : positions) {
    CHECK(!set->view().has(position));
    CHECK_EQUAL(set->with_set(&position, 1)->count(), kItems - 2);
  }
  CHECK(set->with_set(positions.data(), 3)->view().is_everything());
}

TEST(an_altered_set_shares_what_it_did_not_alter) {
  const ItemSetHandle set = ItemSet::everything(100000000);
  CHECK(set->nbytes() < 100000);
  std::vector<uint32_t> positions(1000);
  std::mt19937 random(4);
  for (uint32_t& position : positions) position = random() % set->num_items();
  const ItemSetHandle altered = set->with_cleared(positions.data(), positions.size());
  CHECK(altered->nbytes() < 600000);
  const uint32_t position = 12345678;
  const ItemSetHandle again = altered->with_cleared(&position, 1);
  const uint32_t chunk = position / ItemChunk::kBits;
  CHECK_EQUAL(altered->view().chunks[0], again->view().chunks[0]);
  CHECK(altered->view().chunks[chunk] != again->view().chunks[chunk]);
}

TEST(items_in_both_sets_are_found_exactly) {
  std::mt19937 random(5);
  for (const uint32_t n : kSizes) {
    const Members a = random_members(random, n);
    const Members b = random_members(random, n);
    Members both(n);
    for (uint32_t i = 0; i < n; ++i) both[i] = a[i] && b[i];
    const std::vector<uint32_t> before_both = counts_of(both);
    const std::vector<uint32_t> before_a = counts_of(a);
    const std::vector<uint32_t> before_b = counts_of(b);
    const ItemSetHandle filter = set_of(a);
    const ItemSetHandle live = set_of(b);
    const AllowedItems common{filter->view(), live->view()};
    const AllowedItems only_live{{}, live->view()};
    const AllowedItems only_filter{filter->view(), {}};
    for (int i = 0; i < 300; ++i) {
      const NodeRange range = random_range(random, n);
      CHECK_EQUAL(common.any(range), before_both[range.begin] < before_both[range.end]);
      CHECK_EQUAL(only_live.any(range), before_b[range.begin] < before_b[range.end]);
      CHECK_EQUAL(only_filter.any(range), before_a[range.begin] < before_a[range.end]);
      if (range.begin < n) CHECK_EQUAL(common.has(range.begin), both[range.begin]);
    }
  }
}

// As a live store does it: one thread publishes altered sets while others read theirs.
TEST(readers_keep_their_set_while_others_are_made) {
  constexpr uint32_t kItems = 300000;
  std::mutex mutex;
  ItemSetHandle published = ItemSet::everything(kItems);
  const auto current = [&] {
    const std::lock_guard<std::mutex> lock(mutex);
    return published;
  };
  std::atomic<bool> stop{false};
  std::atomic<int> wrong{0};
  std::vector<std::thread> readers;
  for (int reader = 0; reader < 3; ++reader) {
    readers.emplace_back([&] {
      while (!stop) {
        const ItemSetHandle set = current();
        // Cleared in order, so the members are a suffix.
        const uint32_t cleared = kItems - set->count();
        wrong += set->view().any({0, cleared}) || !set->view().any({cleared, kItems});
        wrong += ItemSet::combine(ItemSet::Operation::kAnd, *set, *set)->count() != set->count();
      }
    });
  }
  for (uint32_t position = 0; position < 500; ++position) {
    const ItemSetHandle next = current()->with_cleared(&position, 1);
    const std::lock_guard<std::mutex> lock(mutex);
    published = next;
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
  CHECK_EQUAL(wrong.load(), 0);
}
