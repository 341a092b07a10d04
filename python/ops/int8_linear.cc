#include "ops/int8_linear/int8_linear.h"

#include "bindings.h"
#include "tensors.h"

namespace py = pybind11;

namespace onesearch::bindings {
namespace {

constexpr char kWhere[] = "int8_linear";

template <void (*function)(const Int8LinearInput&, const TensorView&)>
void call(py::handle x, py::handle weight, py::handle weight_scale, py::handle bias, int activation,
          py::handle added, py::handle factor, py::handle out) {
  const BorrowedTensor borrowed[] = {
      borrow_tensor(x, kWhere, "x"), borrow_tensor(weight, kWhere, "weight"),
      borrow_tensor(weight_scale, kWhere, "weight_scale"), borrow_tensor(out, kWhere, "out")};
  const std::optional<BorrowedTensor> optional[] = {borrow_optional(bias, kWhere, "bias"),
                                                    borrow_optional(added, kWhere, "added"),
                                                    borrow_optional(factor, kWhere, "factor")};
  const Int8LinearInput input{borrowed[0].view,
                              borrowed[1].view,
                              borrowed[2].view,
                              view_of(optional[0]),
                              static_cast<Activation>(activation),
                              view_of(optional[1]),
                              view_of(optional[2])};
  const py::gil_scoped_release release;
  function(input, borrowed[3].view);
}

template <void (*function)(const Int8LinearInput&, const TensorView&)>
void define(py::module_& module, const char* name) {
  module.def(name, &call<function>, py::arg("x"), py::arg("weight"), py::arg("weight_scale"),
             py::arg("bias"), py::arg("activation"), py::arg("added"), py::arg("factor"),
             py::arg("out"));
}

const Registration registration([](py::module_& module) {
  define<&int8_linear>(module, "int8_linear");
  define<&check_int8_linear>(module, "check_int8_linear");
});

}  // namespace
}  // namespace onesearch::bindings
