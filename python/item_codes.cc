#include "index/item_codes.h"

#include "arrays.h"
#include "bindings.h"
#include "index/catalogue.h"

namespace py = pybind11;

namespace onesearch::bindings {
namespace {

Vector<int32_t> codes_of(const Catalogue& catalogue, const Vector<int64_t>& item_ids) {
  const CatalogueView view = catalogue.catalogue_view();
  Vector<int32_t> codes({item_ids.size(), py::ssize_t{view.base.num_levels}});
  int32_t* const out = codes.mutable_data();
  const py::gil_scoped_release release;
  item_codes(view, item_ids.data(), item_ids.size(), out);
  return codes;
}

void bind(py::module_& module) {
  module.def("item_codes", &codes_of, py::arg("catalogue"), py::arg("item_ids"));
}

const Registration registration(&bind);

}  // namespace
}  // namespace onesearch::bindings
