#include "cuda/cuda_library.h"

#include <dlfcn.h>

#include "core/error.h"

namespace onesearch {
namespace {

constexpr char kLibrary[] = "libonesearch_fast_cuda.so";

struct CudaLibrary {
  std::string why_not;
  decltype(&onesearch_cuda_versions) versions = nullptr;
  decltype(&onesearch_cuda_device_count) device_count = nullptr;
  decltype(&onesearch_cuda_device) device = nullptr;
  decltype(&onesearch_cuda_last_error) last_error = nullptr;
  decltype(&onesearch_cuda_constrained_beam_step) constrained_beam_step = nullptr;
};

// The folder of the shared object that this code was linked into.
std::string own_folder() {
  Dl_info own;
  if (dladdr(reinterpret_cast<const void*>(&cuda_info), &own) == 0) return "";
  const std::string path = own.dli_fname;
  return path.substr(0, path.find_last_of('/') + 1);
}

template <class Function>
bool resolve(void* handle, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(handle, name));
  return function != nullptr;
}

CudaLibrary open_library() {
  CudaLibrary library;
  const std::string path = own_folder() + kLibrary;
  void* const handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* reason = dlerror();
    library.why_not = "this build has no CUDA part: " + std::string(reason ? reason : path);
    return library;
  }
  decltype(&onesearch_cuda_abi) abi = nullptr;
  const bool whole =
      resolve(handle, "onesearch_cuda_abi", abi) && abi() == ONESEARCH_CUDA_ABI &&
      resolve(handle, "onesearch_cuda_versions", library.versions) &&
      resolve(handle, "onesearch_cuda_device_count", library.device_count) &&
      resolve(handle, "onesearch_cuda_device", library.device) &&
      resolve(handle, "onesearch_cuda_last_error", library.last_error) &&
      resolve(handle, "onesearch_cuda_constrained_beam_step", library.constrained_beam_step);
  if (!whole) library.why_not = path + " belongs to another build";
  return library;
}

void find_devices(const CudaLibrary& library, CudaInfo& info) {
  int count = 0;
  if (library.device_count(&count) != 0) {
    info.why_not = library.last_error();
    return;
  }
  for (int index = 0; index < count; ++index) {
    OnesearchCudaDevice device;
    if (library.device(index, &device) != 0) {
      info.why_not = library.last_error();
      return;
    }
    info.devices.push_back(device);
  }
  if (count == 0) info.why_not = "the driver reports no GPU";
}

const CudaLibrary& cuda_library() {
  static const CudaLibrary library = open_library();
  return library;
}

}  // namespace

CudaInfo cuda_info() {
  const CudaLibrary& library = cuda_library();
  CudaInfo info;
  info.why_not = library.why_not;
  if (!info.why_not.empty()) return info;
  if (library.versions(&info.driver_version, &info.runtime_version) != 0) {
    info.why_not = library.last_error();
  } else if (info.driver_version == 0) {
    info.why_not = "no NVIDIA driver is installed";
  } else {
    find_devices(library, info);
  }
  return info;
}

void launch_constrained_beam_step(const DeviceBeamStep& step, int device, void* stream) {
  const CudaLibrary& library = cuda_library();
  if (!library.why_not.empty()) throw CudaError("constrained_beam_step: " + library.why_not);
  if (library.constrained_beam_step(&step, device, stream) == 0) return;
  throw CudaError("constrained_beam_step: " + std::string(library.last_error()));
}

}  // namespace onesearch
