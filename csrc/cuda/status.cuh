// Status codes of the C ABI, with the text behind the last one.
#pragma once

#include <cuda_runtime.h>

namespace onesearch {

// Returns the code, and keeps its text for onesearch_cuda_last_error() on this thread.
int record(cudaError_t status);

// Makes a device this thread's current one, and the one before it again at the end.
struct OnDevice {
  explicit OnDevice(int device) : status(cudaGetDevice(&before)) {
    if (status == cudaSuccess && before != device) status = cudaSetDevice(device);
  }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;
  ~OnDevice() {
    if (before >= 0) cudaSetDevice(before);
  }

  int before = -1;
  cudaError_t status;
};

}  // namespace onesearch

#define ONESEARCH_EXPORT __attribute__((visibility("default")))
