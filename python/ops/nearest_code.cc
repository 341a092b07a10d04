#include "ops/nearest_code/nearest_code.h"

#include <optional>

#include "bindings.h"
#include "tensors.h"

namespace py = pybind11;

namespace onesearch::bindings {
namespace {

constexpr char kWhere[] = "nearest_code";

template <void (*function)(const NearestCodeInput&, const TensorView&)>
void call(py::handle vectors, py::handle centroids, py::handle prices, py::handle groups,
          py::handle out) {
  const auto borrow = [](py::handle object, const char* argument) {
    return borrow_tensor(object, kWhere, argument);
  };
  const BorrowedTensor borrowed[] = {borrow(vectors, "vectors"), borrow(centroids, "centroids"),
                                     borrow(out, "out")};
  const std::optional<BorrowedTensor> optional[] = {borrow_optional(prices, kWhere, "prices"),
                                                    borrow_optional(groups, kWhere, "groups")};
  NearestCodeInput input{borrowed[0].view, borrowed[1].view, std::nullopt, std::nullopt};
  if (optional[0]) input.prices = optional[0]->view;
  if (optional[1]) input.groups = optional[1]->view;
  const py::gil_scoped_release release;
  function(input, borrowed[2].view);
}

template <void (*function)(const NearestCodeInput&, const TensorView&)>
void define(py::module_& module, const char* name) {
  module.def(name, &call<function>, py::arg("vectors"), py::arg("centroids"), py::arg("prices"),
             py::arg("groups"), py::arg("out"));
}

const Registration registration([](py::module_& module) {
  define<&nearest_code>(module, "nearest_code");
  define<&check_nearest_code>(module, "check_nearest_code");
});

}  // namespace
}  // namespace onesearch::bindings
