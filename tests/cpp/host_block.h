// A GPU's block of threads, emulated by threads of the host: barriers are barriers, so that the
// thread sanitizer sees a missing one. A warp is one lane wide.
#pragma once

#include <atomic>
#include <cmath>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace onesearch::testing {

class Barrier {
 public:
  explicit Barrier(uint32_t threads) : threads_(threads) {}

  void wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    const uint64_t round = round_;
    if (++waiting_ == threads_) {
      waiting_ = 0;
      ++round_;
      all_here_.notify_all();
      return;
    }
    all_here_.wait(lock, [&] { return round_ != round; });
  }

 private:
  uint32_t threads_;
  uint32_t waiting_ = 0;
  uint64_t round_ = 0;
  std::mutex mutex_;
  std::condition_variable all_here_;
};

struct HostBlockState {
  explicit HostBlockState(uint32_t num_threads) : threads(num_threads), barrier(num_threads) {}

  uint32_t threads;
  Barrier barrier;
  std::atomic<uint32_t> votes{0};
};

class HostBlock {
 public:
  HostBlock(HostBlockState* state, uint32_t thread) : state_(*state), thread_(thread) {}

  uint32_t thread() const { return thread_; }
  uint32_t threads() const { return state_.threads; }
  uint32_t warp() const { return thread_; }
  uint32_t warps() const { return state_.threads; }
  uint32_t lane() const { return 0; }
  uint32_t lanes() const { return 1; }

  void sync() const { state_.barrier.wait(); }

  bool any(bool vote) const {
    if (vote) state_.votes.fetch_add(1);
    sync();
    const bool result = state_.votes.load() > 0;
    sync();
    if (thread_ == 0) state_.votes.store(0);
    sync();
    return result;
  }

  uint32_t append(uint32_t* size) const { return __atomic_fetch_add(size, 1, __ATOMIC_RELAXED); }
  void increment(uint32_t* count) const { __atomic_fetch_add(count, 1, __ATOMIC_RELAXED); }
  void raise(uint32_t* bound, uint32_t value) const {
    uint32_t known = __atomic_load_n(bound, __ATOMIC_RELAXED);
    while (known < value && !__atomic_compare_exchange_n(bound, &known, value, true,
                                                         __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
  }

  float max_of_lanes(float x) const { return x; }
  float sum_of_lanes(float x) const { return x; }
  uint32_t sum_of_lower_lanes(uint32_t) const { return 0; }

  static float exp(float x) { return std::exp(x); }
  static float log(float x) { return std::log(x); }

  // Runs `body(block)` as every thread of a block.
  template <class Body>
  static void run(uint32_t threads, const Body& body) {
    HostBlockState state(threads);
    std::vector<std::thread> running;
    for (uint32_t thread = 0; thread < threads; ++thread) {
      running.emplace_back([&, thread] { body(HostBlock(&state, thread)); });
    }
    for (std::thread& one : running) one.join();
  }

 private:
  HostBlockState& state_;
  uint32_t thread_;
};

}  // namespace onesearch::testing
