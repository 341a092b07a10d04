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
#if __CUDA_ARCH__ >= 900
  // At once: the merge waits for the end of this grid and its writes, whenever it is launched.
  cudaTriggerProgrammaticLaunchCompletion();
#endif
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
}

#if __CUDA_ARCH__ >= 900
// The first block of a cluster takes what the others found from their shared memory, and writes.
template <class T>
__device__ void write_as_cluster(const BlockStep<CudaBlock, T>& request, Select* best) {
  const auto cluster = cooperative_groups::this_cluster();
  best->finish();
  cluster.sync();
  if (cluster.block_rank() == 0) {
    const auto list_of = [&](uint32_t rank) {
      const BlockCandidates& own = best->all();
      const uint32_t* scalar = cluster.map_shared_rank(own.scalar, rank);
      return ShareList{cluster.map_shared_rank(own.key, rank),
                       cluster.map_shared_rank(own.node, rank), scalar[BlockCandidates::kSize],
                       scalar[BlockCandidates::kBound]};
    };
    request.merge(1, cluster.num_blocks() - 1, list_of, best);
    request.write(best);
  }
  cluster.sync();  // shared memory goes with its block
}
#endif

// The lists in memory, by merging_blocks() blocks a request. Its launch overlaps the walk.
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
  const uint32_t part = step.shares / gridDim.y;
  request.merge(blockIdx.y * part, part, list_of, &best);
#if __CUDA_ARCH__ >= 900
  write_as_cluster(request, &best);
#else
  request.write(&best);
#endif
}

// A cluster of blocks a request, a share each.
template <class T>
__global__ void __launch_bounds__(kStepThreads, 1)
    constrained_beam_step_cluster_kernel(const __grid_constant__ DeviceBeamStep step,
                                         uint32_t capacity) {
#if __CUDA_ARCH__ >= 900
  const CudaBlock block;
  Select best(block, candidates(step, capacity));
  const BlockStep<CudaBlock, T> request(block, step, blockIdx.x);
  request.walk(blockIdx.y, &best);
  write_as_cluster(request, &best);
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
  cudaLaunchAttribute attributes[2]{};
  int most_shared;

  Launch(dim3 grid, size_t shared_bytes, const Place& place) : most_shared(place.most_shared) {
    config.gridDim = grid;
    config.blockDim = kStepThreads;
    config.dynamicSmemBytes = shared_bytes;
    config.stream = place.stream;
    config.attrs = attributes;
  }
  Launch(const Launch&) = delete;  // the config points into it

  // The blocks along y of each x are one cluster.
  void as_clusters() {
    add(cudaLaunchAttributeClusterDimension).clusterDim = {1, config.gridDim.y, 1};
  }

  // May begin before the kernel ahead of it has ended.
  void early() {
    add(cudaLaunchAttributeProgrammaticStreamSerialization).programmaticStreamSerializationAllowed =
        1;
  }

 private:
  cudaLaunchAttributeValue& add(cudaLaunchAttributeID id) {
    cudaLaunchAttribute& attribute = attributes[config.numAttrs++];
    attribute.id = id;
    return attribute.val;
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
    walk.as_clusters();
    return launch(walk, constrained_beam_step_cluster_kernel<T>, step, capacity);
  }
  const cudaError_t status = launch(walk, constrained_beam_step_walk_kernel<T>, step, capacity);
  if (status != cudaSuccess) return status;
  const bool has_clusters = place.major >= 9;
  Launch merge(dim3(step.batch, merging_blocks(step, has_clusters)), bytes, place);
  if (has_clusters) {
    merge.as_clusters();
    merge.early();
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
