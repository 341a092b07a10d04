#include "cpu/thread_pool.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/error.h"

namespace onesearch {
namespace {

constexpr int64_t kMaxThreads = 1024;
// About 50 us: longer than the gap between two steps of a search, shorter than anyone notices.
constexpr int kSpins = 2000;

// True on a thread that is inside a loop body.
thread_local bool inside_loop = false;

void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

int64_t parse_threads(const std::string& text) {
  char* end = nullptr;
  const int64_t count = std::strtoll(text.c_str(), &end, 10);
  const bool whole = !text.empty() && *end == '\0';
  if (whole && count >= 1 && count <= kMaxThreads) return count;
  throw InvalidArgument(
      complaint("ONESEARCH_NUM_THREADS", "value", "an integer from 1 to 1024", "'" + text + "'"));
}

int default_threads() {
  const char* chosen = std::getenv("ONESEARCH_NUM_THREADS");
  if (chosen != nullptr) return static_cast<int>(parse_threads(chosen));
  cpu_set_t usable;
  CPU_ZERO(&usable);
  const int count = sched_getaffinity(0, sizeof usable, &usable) == 0 ? CPU_COUNT(&usable) : 1;
  return std::clamp(count, 1, static_cast<int>(kMaxThreads));
}

struct Loop {
  const LoopBody& body;
  int64_t n;
  int64_t grain;
  std::atomic<int64_t> next{0};
  std::mutex error_mutex;
  std::exception_ptr error;

  void take_part() {
    inside_loop = true;
    try {
      for (int64_t begin = next.fetch_add(grain); begin < n; begin = next.fetch_add(grain)) {
        body(begin, std::min(begin + grain, n));
      }
    } catch (...) {
      const std::lock_guard<std::mutex> lock(error_mutex);
      if (!error) error = std::current_exception();
      next = n;
    }
    inside_loop = false;
  }
};

class ThreadPool {
 public:
  explicit ThreadPool(int threads, ThreadPool* before_fork = nullptr)
      : num_threads_(threads), before_fork_(before_fork) {}

  int num_threads() const { return num_threads_; }

  void borrow(const OpenMp& openmp) {
    const std::lock_guard<std::mutex> turn(turn_);
    openmp_ = openmp;
  }

  bool uses_borrowed() {
    const std::lock_guard<std::mutex> turn(turn_);
    return has_borrowed();
  }

  void resize(int threads) {
    const std::lock_guard<std::mutex> turn(turn_);
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      stop_ = true;
    }
    wake_.notify_all();
    for (std::thread& worker : workers_) worker.join();
    workers_.clear();
    stop_ = false;
    num_threads_ = threads;
  }

  // False when another thread's loop has the workers.
  bool run(Loop& loop) {
    const std::unique_lock<std::mutex> turn(turn_, std::try_to_lock);
    if (!turn.owns_lock()) return false;
    if (has_borrowed()) {
      run_on_borrowed(loop);
    } else {
      run_on_workers(loop);
    }
    return true;
  }

 private:
  // As many as loops may use: a run time that is asked for another number makes its threads anew.
  bool has_borrowed() const { return openmp_ && openmp_.max_threads() == num_threads_; }

  void run_on_borrowed(Loop& loop) {
    const auto take_part = [](void* data) { static_cast<Loop*>(data)->take_part(); };
    openmp_.parallel(take_part, &loop, static_cast<unsigned>(num_threads_), 0);
  }

  void run_on_workers(Loop& loop) {
    start_workers();
    publish(&loop);
    wake_.notify_all();
    loop.take_part();
    // Workers that come late find no loop; only those that joined are waited for.
    publish(nullptr);
    for (int spin = 0; spin < kSpins && joined_ != 0; ++spin) pause_briefly();
    std::unique_lock<std::mutex> lock(mutex_);
    left_.wait(lock, [this] { return joined_ == 0; });
  }

  void start_workers() {
    while (static_cast<int>(workers_.size()) + 1 < num_threads_) {
      workers_.emplace_back([this] { work(); });
    }
  }

  void publish(Loop* loop) {
    const std::lock_guard<std::mutex> lock(mutex_);
    loop_ = loop;
    ++generation_;
  }

  void work() {
    uint64_t seen = 0;
    while (true) {
      for (int spin = 0; spin < kSpins && generation_ == seen && !stop_; ++spin) pause_briefly();
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait(lock, [&] { return stop_ || generation_ != seen; });
      if (stop_) return;
      seen = generation_;
      if (loop_ == nullptr) continue;
      Loop* const loop = loop_;
      ++joined_;
      lock.unlock();
      loop->take_part();
      lock.lock();
      if (--joined_ == 0) left_.notify_one();
    }
  }

  std::mutex turn_;   // held by the thread whose loop runs
  std::mutex mutex_;  // guards loop_, and the atomics where a condition waits for them
  std::condition_variable wake_;
  std::condition_variable left_;
  std::vector<std::thread> workers_;
  std::atomic<int> num_threads_;
  OpenMp openmp_;
  std::atomic<uint64_t> generation_{0};
  std::atomic<int> joined_{0};
  std::atomic<bool> stop_{false};
  Loop* loop_ = nullptr;
  // Keeps the parent's pool reachable in a child.
  [[maybe_unused]] ThreadPool* before_fork_;
};

std::atomic<ThreadPool*> current_pool{nullptr};

// A child has none of its parent's threads and may find its locks taken: it starts over.
void replace_pool_after_fork() {
  ThreadPool* const inherited = current_pool;
  current_pool = new ThreadPool(inherited->num_threads(), inherited);
  inside_loop = false;
}

// Never destroyed: workers sleep until the process ends, whatever order its objects go in.
ThreadPool& pool() {
  static const bool made = [] {
    current_pool = new ThreadPool(default_threads());
    pthread_atfork(nullptr, nullptr, &replace_pool_after_fork);
    return true;
  }();
  static_cast<void>(made);
  return *current_pool;
}

}  // namespace

void parallel_for(int64_t n, int64_t grain, const LoopBody& body) {
  if (n <= 0) return;
  Loop loop{body, n, std::max<int64_t>(grain, 1), {}, {}, {}};
  const bool alone = inside_loop || n <= loop.grain || pool().num_threads() == 1;
  if (alone || !pool().run(loop)) {
    body(0, n);
    return;
  }
  if (loop.error) std::rethrow_exception(loop.error);
}

void borrow_threads(const OpenMp& openmp) { pool().borrow(openmp); }

bool uses_borrowed_threads() { return pool().uses_borrowed(); }

InlineLoops::InlineLoops() : before_(std::exchange(inside_loop, true)) {}

InlineLoops::~InlineLoops() { inside_loop = before_; }

int num_threads() { return pool().num_threads(); }

void set_num_threads(int64_t count) {
  if (count < 1 || count > kMaxThreads) {
    throw InvalidArgument(
        complaint("set_num_threads", "count", "an integer from 1 to 1024", std::to_string(count)));
  }
  pool().resize(static_cast<int>(count));
}

}  // namespace onesearch
