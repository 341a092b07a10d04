#include "ops/beam_attention/beam_attention.h"

#include <pybind11/stl.h>

#include <optional>

#include "bindings.h"
#include "tensors.h"

namespace py = pybind11;

namespace onesearch::bindings {
namespace {

constexpr char kWhere[] = "beam_attention";

template <auto function>
auto call(py::handle query, py::handle context_key, py::handle context_value,
          py::handle context_length, py::handle own_key, py::handle own_value, py::handle ancestry,
          std::optional<float> scale, py::handle out) {
  const BorrowedTensor borrowed[] = {borrow_tensor(query, kWhere, "query"),
                                     borrow_tensor(out, kWhere, "out")};
  const auto optional = [](py::handle tensor, const char* argument) {
    return borrow_optional(tensor, kWhere, argument);
  };
  const std::optional<BorrowedTensor> context[] = {optional(context_key, "context_key"),
                                                   optional(context_value, "context_value"),
                                                   optional(context_length, "context_length")};
  const std::optional<BorrowedTensor> own[] = {optional(own_key, "own_key"),
                                               optional(own_value, "own_value"),
                                               optional(ancestry, "ancestry")};
  const BeamAttentionInput input{borrowed[0].view,
                                 {view_of(context[0]), view_of(context[1]), view_of(context[2])},
                                 {view_of(own[0]), view_of(own[1]), view_of(own[2])},
                                 scale};
  const py::gil_scoped_release release;
  return function(input, borrowed[1].view);
}

template <auto function>
void define(py::module_& module, const char* name) {
  module.def(name, &call<function>, py::arg("query"), py::arg("context_key"),
             py::arg("context_value"), py::arg("context_length"), py::arg("own_key"),
             py::arg("own_value"), py::arg("ancestry"), py::arg("scale"), py::arg("out"));
}

const Registration registration([](py::module_& module) {
  define<&onesearch::beam_attention>(module, "beam_attention");
  define<&onesearch::check_beam_attention>(module, "check_beam_attention");
});

}  // namespace
}  // namespace onesearch::bindings
