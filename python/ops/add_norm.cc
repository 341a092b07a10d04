#include "ops/add_norm/add_norm.h"

#include "bindings.h"
#include "tensors.h"

namespace py = pybind11;

namespace onesearch::bindings {
namespace {

constexpr char kWhere[] = "add_norm";

template <void (*function)(const AddNormInput&, const AddNormOutput&)>
void call(py::handle x, py::handle residual, py::handle weight, py::handle bias, float eps,
          py::handle sum, py::handle normed) {
  const auto borrow = [](py::handle object, const char* argument) {
    return borrow_tensor(object, kWhere, argument);
  };
  const BorrowedTensor borrowed[] = {borrow(x, "x"), borrow(residual, "residual"),
                                     borrow(weight, "weight"), borrow(sum, "out.sum"),
                                     borrow(normed, "out.normed")};
  const auto shift = borrow_optional(bias, kWhere, "bias");
  const AddNormInput input{borrowed[0].view, borrowed[1].view, borrowed[2].view, view_of(shift),
                           eps};
  const AddNormOutput out{borrowed[3].view, borrowed[4].view};
  const py::gil_scoped_release release;
  function(input, out);
}

template <void (*function)(const AddNormInput&, const AddNormOutput&)>
void define(py::module_& module, const char* name) {
  module.def(name, &call<function>, py::arg("x"), py::arg("residual"), py::arg("weight"),
             py::arg("bias"), py::arg("eps"), py::arg("sum"), py::arg("normed"));
}

const Registration registration([](py::module_& module) {
  define<&onesearch::add_norm>(module, "add_norm");
  define<&onesearch::check_add_norm>(module, "check_add_norm");
});

}  // namespace
}  // namespace onesearch::bindings
