#include "ops/log_sum_exp/log_sum_exp.h"

#include "bindings.h"
#include "tensors.h"

namespace py = pybind11;

namespace onesearch::bindings {
namespace {

template <void (*function)(const TensorView&, const TensorView&)>
void call(py::handle x, py::handle out) {
  const BorrowedTensor borrowed[] = {borrow_tensor(x, "log_sum_exp", "x"),
                                     borrow_tensor(out, "log_sum_exp", "out")};
  const py::gil_scoped_release release;
  function(borrowed[0].view, borrowed[1].view);
}

const Registration registration([](py::module_& module) {
  module.def("log_sum_exp", &call<&log_sum_exp>, py::arg("x"), py::arg("out"));
  module.def("check_log_sum_exp", &call<&check_log_sum_exp>, py::arg("x"), py::arg("out"));
});

}  // namespace
}  // namespace onesearch::bindings
