#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <stdexcept>
#include <thread>
#include <vector>

#include "beam_step.h"
#include "catalogue.h"
#include "check.h"
#include "core/error.h"
#include "cpu/cpuid.h"
#include "cpu/thread_pool.h"
#include "cuda/cuda_library.h"
#include "index/item_filter.h"

using namespace onesearch;
using namespace onesearch::testing;

namespace {

// Every index of [0, n) exactly once.
bool covers(int64_t n, int64_t grain) {
  std::vector<std::atomic<int>> visits(static_cast<size_t>(n));
  parallel_for(n, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) ++visits[i];
  });
  for (const auto& visit : visits) {
    if (visit != 1) return false;
  }
  return true;
}

}  // namespace

TEST(loops_cover_their_range_once) {
  for (const int threads : {1, 2, 7}) {
    set_num_threads(threads);
    CHECK_EQUAL(num_threads(), threads);
    for (const int64_t n : {0, 1, 2, 63, 1000}) {
      for (const int64_t grain : {0, 1, 10, 5000}) CHECK(covers(n, grain));
    }
  }
}

TEST(nested_loops_run_inline) {
  set_num_threads(4);
  std::atomic<int> sum{0};
  parallel_for(20, 1, [&](int64_t, int64_t) {
    CHECK(covers(50, 3));
    ++sum;
  });
  CHECK_EQUAL(sum.load(), 20);
}

TEST(loops_of_many_threads_do_not_mix) {
  set_num_threads(3);
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 6; ++caller) {
    callers.emplace_back([&] {
      for (int i = 0; i < 100; ++i) wrong += !covers(40, 3);
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK_EQUAL(wrong.load(), 0);
}

TEST(what_a_body_throws_reaches_the_caller) {
  set_num_threads(4);
  for (int i = 0; i < 20; ++i) {
    CHECK_THROWS(std::runtime_error, "from the body", parallel_for(100, 1, [](int64_t at, int64_t) {
                   if (at == 57) throw std::runtime_error("from the body");
                 }));
  }
  CHECK(covers(100, 1));
}

TEST(thread_counts_out_of_range_are_refused) {
  for (const int64_t count : {int64_t{0}, int64_t{-1}, int64_t{1025}, int64_t{1} << 40}) {
    CHECK_THROWS(InvalidArgument, "1 to 1024", set_num_threads(count));
  }
}

TEST(a_thread_that_keeps_to_itself_runs_its_loops_whole) {
  set_num_threads(3);
  std::vector<std::pair<int64_t, int64_t>> parts;
  {
    const InlineLoops inline_loops;
    parallel_for(1000, 1, [&](int64_t begin, int64_t end) { parts.emplace_back(begin, end); });
  }
  CHECK(parts == (std::vector<std::pair<int64_t, int64_t>>{{0, 1000}}));
  std::atomic<int> calls{0};
  parallel_for(1000, 1, [&](int64_t, int64_t) { ++calls; });
  CHECK_EQUAL(calls.load(), 1000);
}

namespace {

std::atomic<int> lent_regions{0};
std::atomic<int> lendable_threads{3};

// An OpenMP run time of std::thread.
const OpenMp kLender{[](void (*body)(void*), void* data, unsigned count, unsigned) {
                       ++lent_regions;
                       std::vector<std::thread> others;
                       for (unsigned i = 1; i < count; ++i) others.emplace_back(body, data);
                       body(data);
                       for (std::thread& other : others) other.join();
                     },
                     [] { return lendable_threads.load(); }};

struct Borrowed {
  Borrowed() { borrow_threads(kLender); }
  Borrowed(const Borrowed&) = delete;
  Borrowed& operator=(const Borrowed&) = delete;
  ~Borrowed() { borrow_threads({}); }
};

}  // namespace

TEST(loops_run_on_borrowed_threads_where_there_are_as_many) {
  const Borrowed borrowed;
  for (const int threads : {1, 2, 3, 4}) {
    set_num_threads(threads);
    CHECK_EQUAL(uses_borrowed_threads(), threads == 3);
    lent_regions = 0;
    CHECK(covers(1000, 10));
    CHECK_EQUAL(lent_regions.load(), threads == 3 ? 1 : 0);
  }
}

TEST(borrowed_threads_keep_the_rules_of_loops) {
  const Borrowed borrowed;
  set_num_threads(3);
  lent_regions = 0;
  parallel_for(20, 1, [](int64_t, int64_t) { CHECK(covers(50, 3)); });
  CHECK_EQUAL(lent_regions.load(), 1);
  CHECK_THROWS(std::runtime_error, "from the body", parallel_for(100, 1, [](int64_t at, int64_t) {
                 if (at == 57) throw std::runtime_error("from the body");
               }));
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&] {
      for (int i = 0; i < 20; ++i) wrong += !covers(40, 3);
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK_EQUAL(wrong.load(), 0);
}

#if !defined(__SANITIZE_THREAD__)  // TSan does not follow threads through fork
TEST(a_forked_child_has_threads_of_its_own) {
  set_num_threads(3);
  CHECK(covers(100, 1));
  const pid_t child = fork();
  if (child == 0) _exit(covers(100, 1) && num_threads() == 3 ? 0 : 1);
  int status = -1;
  waitpid(child, &status, 0);
  CHECK_EQUAL(status, 0);
  CHECK(covers(100, 1));
}

TEST(a_forked_child_borrows_nothing) {
  const Borrowed borrowed;
  set_num_threads(3);
  const pid_t child = fork();
  if (child == 0) _exit(uses_borrowed_threads() || !covers(100, 1) ? 1 : 0);
  int status = -1;
  waitpid(child, &status, 0);
  CHECK_EQUAL(status, 0);
  CHECK(uses_borrowed_threads());
}
#endif

TEST(everything_at_once_from_many_threads) {
  set_num_threads(3);
  const RandomCatalogue catalogue = random_catalogue(3, {300, 40, 30}, 2000);
  const auto trie = SidTrie::build(catalogue.input());
  const ScratchFile file;
  trie->save(file.path());
  Step expected(1, trie->catalogue_view(), 1, 4, 60, 50, Normalizer::kLevel);
  expected.run();

  std::atomic<int> wrong{0};
  const auto search = [&] {
    for (int i = 0; i < 10; ++i) {
      Step step(1, trie->catalogue_view(), 1, 4, 60, 50, Normalizer::kLevel);
      step.run();
      wrong += step.scores != expected.scores || step.tokens != expected.tokens;
    }
  };
  const auto query = [&] {
    for (int64_t i = 0; i < 10; ++i) {
      const ItemSelection deny{nullptr, catalogue.ids.data(), 100 * i};
      const auto filter = ItemFilter::make(trie, nullptr, &deny);
      wrong += filter->num_allowed_items() != 2000 - 100 * i;
      int64_t rank = i;
      int32_t codes[3];
      trie->codes(&rank, 1, codes);
    }
  };
  const auto reload = [&] {
    for (int i = 0; i < 5; ++i) {
      trie->verify();
      trie->save(file.path());
      wrong += SidTrie::load(file.path(), true)->view().num_items != 2000;
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back(search);
    threads.emplace_back(query);
    threads.emplace_back(reload);
  }
  threads.emplace_back([] {
    for (int i = 0; i < 20; ++i) set_num_threads(1 + i % 4);
  });
  for (std::thread& thread : threads) thread.join();
  CHECK_EQUAL(wrong.load(), 0);
}

TEST(the_processor_is_described) {
  CHECK(!cpu_architecture().empty());
#if defined(__AVX2__)
  CHECK(cpu_has({"avx2"}));
  CHECK(!cpu_has({"avx2", "telepathy"}));
#endif
}

TEST(either_a_gpu_or_a_reason) {
  const CudaInfo info = cuda_info();
  CHECK_EQUAL(info.why_not.empty(), !info.devices.empty());
}
