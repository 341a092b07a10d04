#include "ops/bf16_linear/bf16_linear.h"

#include "bindings.h"
#include "tensors.h"

namespace py = pybind11;

namespace onesearch::bindings {
namespace {

constexpr char kWhere[] = "bf16_linear";

template <void (*function)(const Bf16LinearInput&, const TensorView&)>
void call(py::handle x, py::handle weight, py::handle bias, int activation, py::handle added,
          py::handle factor, py::handle out) {
  const BorrowedTensor borrowed[] = {borrow_tensor(x, kWhere, "x"),
                                     borrow_tensor(weight, kWhere, "weight"),
                                     borrow_tensor(out, kWhere, "out")};
  const std::optional<BorrowedTensor> optional[] = {borrow_optional(bias, kWhere, "bias"),
                                                    borrow_optional(added, kWhere, "added"),
                                                    borrow_optional(factor, kWhere, "factor")};
  const ProductEnd end{view_of(optional[0]), static_cast<Activation>(activation),
                       view_of(optional[1]), view_of(optional[2])};
  const py::gil_scoped_release release;
  function({borrowed[0].view, borrowed[1].view, end}, borrowed[2].view);
}

template <void (*function)(const Bf16LinearInput&, const TensorView&)>
void define(py::module_& module, const char* name) {
  module.def(name, &call<function>, py::arg("x"), py::arg("weight"), py::arg("bias"),
             py::arg("activation"), py::arg("added"), py::arg("factor"), py::arg("out"));
}

const Registration registration([](py::module_& module) {
  define<&bf16_linear>(module, "bf16_linear");
  define<&check_bf16_linear>(module, "check_bf16_linear");
  module.def("multiplies_bf16_pairs", &multiplies_bf16_pairs);
});

}  // namespace
}  // namespace onesearch::bindings
