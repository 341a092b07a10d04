// The OpenMP run time of another library of this process, found by name: this library is linked
// with none, since a second one beside torch's slows both down.
#pragma once

namespace onesearch {

// Functions of libgomp's interface, which others have as well; null where there is no run time.
struct OpenMp {
  // body(data) on `threads` threads, the caller among them; returns when all have.
  void (*parallel)(void (*body)(void*), void* data, unsigned threads, unsigned flags) = nullptr;
  // What a parallel region of the calling thread would use.
  int (*max_threads)() = nullptr;

  explicit operator bool() const { return parallel != nullptr && max_threads != nullptr; }
};

// Of those that this process has loaded for all to see, as torch loads its own.
OpenMp loaded_openmp();

}  // namespace onesearch
