#include "ops/sid_embedding_bag/sid_embedding_bag.h"

#include <pybind11/stl.h>

#include <optional>
#include <vector>

#include "bindings.h"
#include "tensors.h"

namespace py = pybind11;

namespace onesearch::bindings {
namespace {

// A tensor, or nothing for None.
class Borrowed {
 public:
  Borrowed(py::handle object, const char* argument) {
    if (!object.is_none()) tensor_ = borrow_tensor(object, "sid_embedding_bag", argument);
  }
  const TensorView& operator*() const { return tensor_->view; }
  const TensorView* view() const { return tensor_ ? &tensor_->view : nullptr; }

 private:
  std::optional<BorrowedTensor> tensor_;
};

using Forward = void (*)(const ItemBags&, const std::vector<RowTable>&, const TensorView&);
using Backward = void (*)(const ItemBags&, const ItemRows&, const TensorView&, const TensorView&);
using Sizes = std::vector<int64_t>;

template <Forward function>
void forward(py::handle codes, py::handle table, const Sizes& level_sizes, py::handle offsets,
             py::handle weights, py::handle bag_scales, py::handle row_scales, py::handle side_ids,
             py::handle side_table, py::handle out) {
  const Borrowed item_codes(codes, "codes"), rows(table, "table"), starts(offsets, "offsets"),
      item_weights(weights, "weights"), means(bag_scales, "bag_scales"),
      scales(row_scales, "row_scales"), ids(side_ids, "side_ids"),
      side_rows(side_table, "side_table"), result(out, "out");
  std::vector<RowTable> tables{{{*item_codes, level_sizes}, *rows, scales.view()}};
  if (ids.view() != nullptr) {
    tables.push_back({{*ids, {(*side_rows).shape[0]}}, *side_rows, nullptr});
  }
  const py::gil_scoped_release release;
  function({*starts, item_weights.view(), means.view()}, tables, *result);
}

template <Backward function>
void backward(py::handle grad_out, py::handle codes, const Sizes& level_sizes, py::handle offsets,
              py::handle weights, py::handle bag_scales, py::handle out) {
  const Borrowed gradient(grad_out, "grad_out"), item_codes(codes, "codes"),
      starts(offsets, "offsets"), item_weights(weights, "weights"), means(bag_scales, "bag_scales"),
      result(out, "out");
  const py::gil_scoped_release release;
  function({*starts, item_weights.view(), means.view()}, {*item_codes, level_sizes}, *gradient,
           *result);
}

template <Forward function>
void define_forward(py::module_& module, const char* name) {
  module.def(name, &forward<function>, py::arg("codes"), py::arg("table"), py::arg("level_sizes"),
             py::arg("offsets"), py::arg("weights"), py::arg("bag_scales"), py::arg("row_scales"),
             py::arg("side_ids"), py::arg("side_table"), py::arg("out"));
}

template <Backward function>
void define_backward(py::module_& module, const char* name) {
  module.def(name, &backward<function>, py::arg("grad_out"), py::arg("codes"),
             py::arg("level_sizes"), py::arg("offsets"), py::arg("weights"), py::arg("bag_scales"),
             py::arg("out"));
}

const Registration registration([](py::module_& module) {
  define_forward<&sid_embedding_bag>(module, "sid_embedding_bag");
  define_forward<&check_sid_embedding_bag>(module, "check_sid_embedding_bag");
  define_backward<&sid_embedding_bag_backward>(module, "sid_embedding_bag_backward");
  define_backward<&check_sid_embedding_bag_backward>(module, "check_sid_embedding_bag_backward");
});

}  // namespace
}  // namespace onesearch::bindings
