#include "core/background_task.h"

#include <utility>

namespace onesearch {

BackgroundTask::~BackgroundTask() {
  if (thread_.joinable()) thread_.join();
}

bool BackgroundTask::start(std::function<void()> task) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (running_) return false;
  if (thread_.joinable()) thread_.join();
  error_ = nullptr;
  thread_ = std::thread([this, task = std::move(task)] { run(task); });
  running_ = true;
  return true;
}

void BackgroundTask::wait() {
  std::unique_lock<std::mutex> lock(mutex_);
  ended_.wait(lock, [this] { return !running_; });
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

void BackgroundTask::run(const std::function<void()>& task) {
  std::exception_ptr error;
  try {
    task();
  } catch (...) {
    error = std::current_exception();
  }
  // Notified under the lock: a waiter may destroy this object as soon as it has it.
  const std::lock_guard<std::mutex> lock(mutex_);
  error_ = std::move(error);
  running_ = false;
  ended_.notify_all();
}

}  // namespace onesearch
