#include <cuda_runtime.h>

#include <cstdio>
#include <cstring>

#include "cuda/cuda_api.h"
#include "cuda/status.cuh"

namespace {

thread_local char last_error[512] = "";

}  // namespace

int onesearch::record(cudaError_t status) {
  if (status == cudaSuccess) return 0;
  std::snprintf(last_error, sizeof last_error, "%s (%s)", cudaGetErrorString(status),
                cudaGetErrorName(status));
  // The runtime remembers an error until it is read; the next call must not report this one.
  cudaGetLastError();
  return static_cast<int>(status);
}

using onesearch::record;

ONESEARCH_EXPORT int onesearch_cuda_abi(void) { return ONESEARCH_CUDA_ABI; }

ONESEARCH_EXPORT const char* onesearch_cuda_last_error(void) { return last_error; }

ONESEARCH_EXPORT int onesearch_cuda_versions(int* driver, int* runtime) {
  const int status = record(cudaDriverGetVersion(driver));
  return status != 0 ? status : record(cudaRuntimeGetVersion(runtime));
}

ONESEARCH_EXPORT int onesearch_cuda_device_count(int* count) {
  return record(cudaGetDeviceCount(count));
}

ONESEARCH_EXPORT int onesearch_cuda_device(int index, OnesearchCudaDevice* device) {
  cudaDeviceProp properties;
  const int status = record(cudaGetDeviceProperties(&properties, index));
  if (status != 0) return status;
  std::strncpy(device->name, properties.name, sizeof device->name - 1);
  device->name[sizeof device->name - 1] = '\0';
  device->major = properties.major;
  device->minor = properties.minor;
  device->num_sms = properties.multiProcessorCount;
  device->memory_bytes = static_cast<int64_t>(properties.totalGlobalMem);
  device->shared_bytes = static_cast<int64_t>(properties.sharedMemPerBlockOptin);
  return 0;
}
