// The CUDA library, opened on first use; without it, or without a GPU, a sentence that says why.
#pragma once

#include <string>
#include <vector>

#include "cuda/cuda_api.h"

namespace onesearch {

struct CudaInfo {
  std::string why_not;      // empty when a GPU can be used
  int driver_version = 0;   // 13000 is 13.0; 0: unknown or none
  int runtime_version = 0;  // 0: no CUDA library
  std::vector<OnesearchCudaDevice> devices;
};

CudaInfo cuda_info();

struct DeviceBeamStep;

// Enqueues a step on a stream of a device that cuda_info() names. Throws CudaError.
void launch_constrained_beam_step(const DeviceBeamStep& step, int device, void* stream);

}  // namespace onesearch
