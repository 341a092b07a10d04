// One task at a time, on a thread of its own.
#pragma once

#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>

namespace onesearch {

class BackgroundTask {
 public:
  ~BackgroundTask();

  // False, and nothing happens, while the last task runs.
  bool start(std::function<void()> task);

  // Returns once no task runs. What the last one threw is thrown here, once.
  void wait();

 private:
  void run(const std::function<void()>& task);

  std::mutex mutex_;
  std::condition_variable ended_;
  bool running_ = false;
  std::exception_ptr error_;
  std::thread thread_;
};

}  // namespace onesearch
