#include <pybind11/stl.h>

#include <string>

#include "bindings.h"
#include "core/error.h"
#include "cpu/attention.h"
#include "cpu/cpuid.h"
#include "cpu/isa.h"
#include "cpu/openmp.h"
#include "cpu/thread_pool.h"
#include "cuda/cuda_library.h"

namespace py = pybind11;

namespace onesearch::bindings {
namespace {

py::dict cpu_info() {
  py::dict info;
  info["architecture"] = cpu_architecture();
  info["features"] = cpu_features();
  info["kernels"] = isa_tier_name(isa_tier());
  info["bfloat16_attention"] = bfloat16_attention();
  return info;
}

void set_isa_tier_by_name(const std::string& name) {
  for (const IsaTier tier : {IsaTier::kPortable, IsaTier::kAvx2, IsaTier::kAvx512}) {
    if (name == isa_tier_name(tier)) return set_isa_tier(tier);
  }
  throw InvalidArgument(complaint("set_isa_tier", "name", "one of " + usable_isa_tiers(), name));
}

// "13.0" of 13000, None of 0.
py::object version_text(int version) {
  if (version == 0) return py::none();
  return py::str(std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10));
}

py::dict device_info(const OnesearchCudaDevice& device) {
  py::dict info;
  info["name"] = device.name;
  info["compute_capability"] = std::to_string(device.major) + "." + std::to_string(device.minor);
  info["num_sms"] = device.num_sms;
  info["memory_bytes"] = device.memory_bytes;
  return info;
}

py::dict cuda_info_dict() {
  const CudaInfo cuda = cuda_info();
  py::dict info;
  info["why_not"] = cuda.why_not.empty() ? py::object(py::none()) : py::str(cuda.why_not);
  info["driver_version"] = version_text(cuda.driver_version);
  info["runtime_version"] = version_text(cuda.runtime_version);
  py::list devices;
  for (const OnesearchCudaDevice& device : cuda.devices) devices.append(device_info(device));
  info["devices"] = devices;
  return info;
}

void bind(py::module_& module) {
  module.def("cpu_info", &cpu_info);
  module.def("cuda_info", &cuda_info_dict);
  module.def("usable_isa_tiers", &usable_isa_tiers);
  module.def("set_isa_tier", &set_isa_tier_by_name, py::arg("name"));
  module.def("borrow_threads", [] { borrow_threads(loaded_openmp()); });
  module.def("uses_borrowed_threads", &uses_borrowed_threads);
  module.def("get_num_threads", &num_threads);
  module.def("set_num_threads", &set_num_threads, py::arg("count"),
             py::call_guard<py::gil_scoped_release>());
}

const Registration registration(&bind);

}  // namespace
}  // namespace onesearch::bindings
