#include <cooperative_groups.h>

#include "cuda/block.cuh"
#include "cuda/cuda_api.h"
#include "cuda/status.cuh"
#include "ops/constrained_beam_step/device_step.h"

namespace onesearch {
namespace {

using Select = BlockSelect<CudaBlock>;

__device__ BlockCandidates candidates(const DeviceBeamStep& step, uint32_t capacity) {
  extern __shared__ __align__(16) unsigned char shared[];
  return BlockCandidates::in(shared, capacity, step.limit());
}

// Each share's best, to its list in memory.
template <class T>
__global__ void __launch_bounds__(kStepThreads, 1)
    constrained_beam_step_walk_kernel(const __grid_constant__ DeviceBeamStep step,
                                      uint32_t capacity) {
  const CudaBlock block;
  Select best(block, candidates(step, capacity));
  BlockStep<CudaBlock, T>(block, step, blockIdx.x).walk(blockIdx.y, &best);
  const uint32_t size = best.finish();
  const int64_t list = int64_t{blockIdx.x} * step.shares + blockIdx.y;
  for (uint32_t i = threadIdx.x; i < size; i += blockDim.x) {
    step.lists.key[list * step.limit() + i] = best.all().key[i];
    step.lists.node[list * step.limit() + i] = best.all().node[i];
  }
  if (threadIdx.x == 0) {
    step.lists.size[list] = size;
    step.lists.lost[list] = best.bound();
  }
#if __CUDA_ARCH__ >= 900
  cudaTriggerProgrammaticLaunchCompletion();
#endif
}

// A block a request. Its launch overlaps the end of the walk.
__global__ void __launch_bounds__(kStepThreads, 1)
    constrained_beam_step_merge_kernel(const __grid_constant__ DeviceBeamStep step,
                                       uint32_t capacity) {
  const CudaBlock block;
  Select best(block, candidates(step, capacity));
#if __CUDA_ARCH__ >= 900
  cudaGridDependencySynchronize();
#endif
  const BlockStep<CudaBlock, float> request(block, step, blockIdx.x);
  const auto list_of = [&step](uint32_t share) { return step.list(blockIdx.x, share); };
  request.merge(0, list_of, &best);
  request.write(&best);
}

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
#define ONESEARCH_CLUSTERS
#endif

// A cluster of blocks a request: the first reads the lists of the others from their shared memory.
template <class T>
__global__ void __launch_bounds__(kStepThreads, 1)
    constrained_beam_step_cluster_kernel(const __grid_constant__ DeviceBeamStep step,
                                         uint32_t capacity) {
#if defined(ONESEARCH_CLUSTERS) && defined(__CUDA_ARCH__)
  const auto cluster = cooperative_groups::this_cluster();
  const CudaBlock block;
  Select best(block, candidates(step, capacity));
  const BlockStep<CudaBlock, T> request(block, step, blockIdx.x);
  request.walk(blockIdx.y, &best);
  best.finish();
  cluster.sync();
  if (cluster.block_rank() == 0) {
    const auto list_of = [&](uint32_t share) {
      const BlockCandidates& own = best.all();
      const uint32_t* scalar = cluster.map_shared_rank(own.scalar, share);
      return ShareList{cluster.map_shared_rank(own.key, share),
                       cluster.map_shared_rank(own.node, share), scalar[BlockCandidates::kSize],
                       scalar[BlockCandidates::kBound]};
    };
    request.merge(1, list_of, &best);
    request.write(&best);
  }
  cluster.sync();  // shared memory goes with its block
#endif
}

// Where steps run.
struct Place {
  cudaStream_t stream;
  int major;        // compute capability
  int most_shared;  // bytes of a block
};

struct Launch {
  cudaLaunchConfig_t config{};
  cudaLaunchAttribute attribute{};
  int most_shared;

  Launch(dim3 grid, size_t shared_bytes, const Place& place) : most_shared(place.most_shared) {
    config.gridDim = grid;
    config.blockDim = kStepThreads;
    config.dynamicSmemBytes = shared_bytes;
    config.stream = place.stream;
  }

  cudaLaunchAttribute& add(cudaLaunchAttributeID id) {
    attribute.id = id;
    config.attrs = &attribute;
    config.numAttrs = 1;
    return attribute;
  }
};

template <class Kernel>
cudaError_t launch(const Launch& how, Kernel kernel, const DeviceBeamStep& step,
                   uint32_t capacity) {
  // All that the device has: the limit is the kernel's, and of two threads that set what each needs
  // one would take it from the other.
  const cudaError_t status =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, how.most_shared);
  return status != cudaSuccess ? status : cudaLaunchKernelEx(&how.config, kernel, step, capacity);
}

template <class T>
cudaError_t run(const DeviceBeamStep& step, const Place& place) {
  const uint32_t capacity = step_capacity(step.limit(), step.offered);
  const size_t bytes = BlockCandidates::bytes(capacity, step.limit());
  // Requests along x, the one axis of a grid that goes beyond 65,535.
  Launch walk(dim3(step.batch, step.shares), bytes, place);
  if (step.cluster) {
    walk.add(cudaLaunchAttributeClusterDimension).val.clusterDim = {1, step.shares, 1};
    return launch(walk, constrained_beam_step_cluster_kernel<T>, step, capacity);
  }
  const cudaError_t status = launch(walk, constrained_beam_step_walk_kernel<T>, step, capacity);
  if (status != cudaSuccess) return status;
  Launch merge(dim3(step.batch), bytes, place);
  if (place.major >= 9) {
    merge.add(cudaLaunchAttributeProgrammaticStreamSerialization)
        .val.programmaticStreamSerializationAllowed = 1;
  }
  return launch(merge, constrained_beam_step_merge_kernel, step, capacity);
}

}  // namespace
}  // namespace onesearch

ONESEARCH_EXPORT int onesearch_cuda_constrained_beam_step(const void* device_step, int device,
                                                          void* stream) {
  using namespace onesearch;
  const auto& step = *static_cast<const DeviceBeamStep*>(device_step);
  const OnDevice current(device);
  if (current.status != cudaSuccess) return record(current.status);
  Place place{static_cast<cudaStream_t>(stream), 0, 0};
  cudaError_t status =
      cudaDeviceGetAttribute(&place.major, cudaDevAttrComputeCapabilityMajor, device);
  if (status != cudaSuccess) return record(status);
  status =
      cudaDeviceGetAttribute(&place.most_shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  if (status != cudaSuccess) return record(status);
  if (step.dtype == DType::kFloat32) return record(run<float>(step, place));
  if (step.dtype == DType::kBFloat16) return record(run<BFloat16>(step, place));
  return record(run<Float16>(step, place));
}
