#include "ops/code_residual/code_residual.h"

#include "bindings.h"
#include "tensors.h"

namespace py = pybind11;

namespace onesearch::bindings {
namespace {

template <void (*function)(const CodeResidualInput&, const TensorView&)>
void call(py::handle vectors, py::handle centroids, py::handle codes, bool normalize, bool project,
          py::handle out) {
  const auto borrow = [](py::handle object, const char* argument) {
    return borrow_tensor(object, "code_residual", argument);
  };
  const BorrowedTensor borrowed[] = {borrow(vectors, "vectors"), borrow(centroids, "centroids"),
                                     borrow(codes, "codes"), borrow(out, "out")};
  const py::gil_scoped_release release;
  function({borrowed[0].view, borrowed[1].view, borrowed[2].view, project, normalize},
           borrowed[3].view);
}

template <void (*function)(const CodeResidualInput&, const TensorView&)>
void define(py::module_& module, const char* name) {
  module.def(name, &call<function>, py::arg("vectors"), py::arg("centroids"), py::arg("codes"),
             py::arg("normalize"), py::arg("project"), py::arg("out"));
}

const Registration registration([](py::module_& module) {
  define<&code_residual>(module, "code_residual");
  define<&check_code_residual>(module, "check_code_residual");
});

}  // namespace
}  // namespace onesearch::bindings
