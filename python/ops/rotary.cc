#include "ops/rotary/rotary.h"

#include "bindings.h"
#include "tensors.h"

namespace py = pybind11;

namespace onesearch::bindings {
namespace {

constexpr char kWhere[] = "rotary";

template <void (*function)(const RotaryInput&, const RotaryOutput&)>
void call(py::handle x, py::handle rotation, py::handle norm_weight, float eps, py::handle query,
          py::handle key, py::handle value) {
  const auto borrow = [](py::handle object, const char* argument) {
    return borrow_tensor(object, kWhere, argument);
  };
  const BorrowedTensor borrowed[] = {borrow(x, "x"), borrow(rotation, "rotation"),
                                     borrow(query, "out.query"), borrow(key, "out.key"),
                                     borrow(value, "out.value")};
  const auto weight = borrow_optional(norm_weight, kWhere, "norm_weight");
  const RotaryInput input{borrowed[0].view, borrowed[1].view, view_of(weight), eps};
  const RotaryOutput out{borrowed[2].view, borrowed[3].view, borrowed[4].view};
  const py::gil_scoped_release release;
  function(input, out);
}

template <void (*function)(const RotaryInput&, const RotaryOutput&)>
void define(py::module_& module, const char* name) {
  module.def(name, &call<function>, py::arg("x"), py::arg("rotation"), py::arg("norm_weight"),
             py::arg("eps"), py::arg("query"), py::arg("key"), py::arg("value"));
}

const Registration registration([](py::module_& module) {
  define<&rotary>(module, "rotary");
  define<&check_rotary>(module, "check_rotary");
});

}  // namespace
}  // namespace onesearch::bindings
