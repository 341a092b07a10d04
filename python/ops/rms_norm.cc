#include "ops/rms_norm/rms_norm.h"

#include "bindings.h"
#include "tensors.h"

namespace py = pybind11;

namespace onesearch::bindings {
namespace {

template <void (*function)(const RmsNormInput&, const TensorView&)>
void call(py::handle x, py::handle weight, float eps, py::handle out) {
  const auto borrow = [](py::handle object, const char* argument) {
    return borrow_tensor(object, "rms_norm", argument);
  };
  const BorrowedTensor borrowed[] = {borrow(x, "x"), borrow(weight, "weight"), borrow(out, "out")};
  const py::gil_scoped_release release;
  function({borrowed[0].view, borrowed[1].view, eps}, borrowed[2].view);
}

template <void (*function)(const RmsNormInput&, const TensorView&)>
void define(py::module_& module, const char* name) {
  module.def(name, &call<function>, py::arg("x"), py::arg("weight"), py::arg("eps"),
             py::arg("out"));
}

const Registration registration([](py::module_& module) {
  define<&rms_norm>(module, "rms_norm");
  define<&check_rms_norm>(module, "check_rms_norm");
});

}  // namespace
}  // namespace onesearch::bindings
