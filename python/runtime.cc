#include <pybind11/stl.h>

#include "bindings.h"
#include "cpu/cpuid.h"
#include "cpu/thread_pool.h"

namespace py = pybind11;

namespace onesearch::bindings {
namespace {

py::dict cpu_info() {
  py::dict info;
  info["architecture"] = cpu_architecture();
  info["features"] = cpu_features();
  info["kernels"] = "portable";
  return info;
}

}  // namespace

void register_runtime(py::module_& module) {
  module.def("cpu_info", &cpu_info);
  module.def("get_num_threads", &num_threads);
  module.def("set_num_threads", &set_num_threads, py::arg("count"),
             py::call_guard<py::gil_scoped_release>());
}

}  // namespace onesearch::bindings
