#include "ops/swiglu/swiglu.h"

#include "bindings.h"
#include "tensors.h"

namespace py = pybind11;

namespace onesearch::bindings {
namespace {

template <void (*function)(const SwigluInput&, const TensorView&)>
void call(py::handle x, py::handle out) {
  const BorrowedTensor borrowed[] = {borrow_tensor(x, "swiglu", "x"),
                                     borrow_tensor(out, "swiglu", "out")};
  const py::gil_scoped_release release;
  function({borrowed[0].view}, borrowed[1].view);
}

template <void (*function)(const SwigluInput&, const TensorView&)>
void define(py::module_& module, const char* name) {
  module.def(name, &call<function>, py::arg("x"), py::arg("out"));
}

const Registration registration([](py::module_& module) {
  define<&onesearch::swiglu>(module, "swiglu");
  define<&onesearch::check_swiglu>(module, "check_swiglu");
});

}  // namespace
}  // namespace onesearch::bindings
