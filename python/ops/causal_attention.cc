#include "ops/causal_attention/causal_attention.h"

#include <pybind11/stl.h>

#include <optional>

#include "bindings.h"
#include "tensors.h"

namespace py = pybind11;

namespace onesearch::bindings {
namespace {

constexpr char kWhere[] = "causal_attention";

template <auto function>
auto call(py::handle query, py::handle key, py::handle value, std::optional<float> scale,
          py::handle out) {
  const BorrowedTensor borrowed[] = {
      borrow_tensor(query, kWhere, "query"), borrow_tensor(key, kWhere, "key"),
      borrow_tensor(value, kWhere, "value"), borrow_tensor(out, kWhere, "out")};
  const CausalAttentionInput input{borrowed[0].view, borrowed[1].view, borrowed[2].view, scale};
  const py::gil_scoped_release release;
  return function(input, borrowed[3].view);
}

template <auto function>
void define(py::module_& module, const char* name) {
  module.def(name, &call<function>, py::arg("query"), py::arg("key"), py::arg("value"),
             py::arg("scale"), py::arg("out"));
}

const Registration registration([](py::module_& module) {
  define<&onesearch::causal_attention>(module, "causal_attention");
  define<&onesearch::check_causal_attention>(module, "check_causal_attention");
});

}  // namespace
}  // namespace onesearch::bindings
