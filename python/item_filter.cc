#include "index/item_filter.h"

#include <pybind11/stl.h>

#include <vector>

#include "arrays.h"
#include "bindings.h"
#include "core/error.h"

namespace py = pybind11;

namespace onesearch::bindings {
namespace {

// A set of items arrives as ids (int64) or as a mask (bool); the wrapper has checked dtype and
// length.
std::optional<ItemSelection> selection(const std::optional<py::array>& items) {
  if (!items.has_value()) return std::nullopt;
  ItemSelection selection;
  if (items->dtype().kind() == 'b') {
    selection.mask = static_cast<const bool*>(items->data());
  } else {
    selection.ids = static_cast<const int64_t*>(items->data());
    selection.num_ids = items->size();
  }
  return selection;
}

ItemFilterHandle make(std::shared_ptr<const Catalogue> catalogue,
                      const std::optional<py::array>& allow, const std::optional<py::array>& deny,
                      std::shared_ptr<ItemSet> where_base, std::shared_ptr<ItemSet> where_overlay) {
  const std::optional<ItemSelection> allowed = selection(allow);
  const std::optional<ItemSelection> denied = selection(deny);
  const py::gil_scoped_release release;
  return ItemFilter::make(std::move(catalogue), allowed ? &*allowed : nullptr,
                          denied ? &*denied : nullptr,
                          {std::move(where_base), std::move(where_overlay)});
}

void check_same_catalogue(const ItemFilter& a, const ItemFilter& b) {
  if (&a.catalogue() == &b.catalogue()) return;
  throw InvalidArgument(complaint("ItemFilter", "other", "a filter of the same catalogue",
                                  "another's", "make both with the same trie or snapshot"));
}

template <ItemSet::Operation kOperation>
ItemFilterHandle combine(const ItemFilter& a, const ItemFilter& b) {
  check_same_catalogue(a, b);
  const py::gil_scoped_release release;
  return ItemFilter::combine(kOperation, a, b);
}

Vector<bool> item_allowed(const ItemFilter& filter) {
  const CatalogueView catalogue = filter.catalogue().catalogue_view();
  Vector<bool> allowed(py::ssize_t{catalogue.base.num_items} + catalogue.overlay.num_items);
  bool* const out = allowed.mutable_data();
  const py::gil_scoped_release release;
  filter.item_allowed(out);
  return allowed;
}

Vector<bool> contains(const ItemFilter& filter, const Vector<int64_t>& item_ids) {
  Vector<bool> contained(item_ids.size());
  bool* const out = contained.mutable_data();
  const py::gil_scoped_release release;
  filter.contains(item_ids.data(), item_ids.size(), out);
  return contained;
}

Vector<bool> allows(const ItemFilter& filter, int level, const Vector<int64_t>& nodes) {
  Vector<bool> allowed(nodes.size());
  bool* const out = allowed.mutable_data();
  const py::gil_scoped_release release;
  filter.allows(level, nodes.data(), nodes.size(), out);
  return allowed;
}

void bind(py::module_& module) {
  py::class_<ItemFilter, std::shared_ptr<ItemFilter>>(module, "ItemFilter")
      .def_static("make", &make, py::arg("catalogue"), py::arg("allow"), py::arg("deny"),
                  py::arg("where_base"), py::arg("where_overlay"))
      .def("intersection", &combine<ItemSet::Operation::kAnd>, py::arg("other"))
      .def("union", &combine<ItemSet::Operation::kOr>, py::arg("other"))
      .def("difference", &combine<ItemSet::Operation::kAndNot>, py::arg("other"))
      .def("complement", &ItemFilter::complement, py::call_guard<py::gil_scoped_release>())
      .def_property_readonly("num_allowed_items", &ItemFilter::num_allowed_items)
      .def_property_readonly("num_allowed_sids", &ItemFilter::num_allowed_sids)
      .def_property_readonly("num_unknown_ids", &ItemFilter::num_unknown_ids)
      .def_property_readonly("nbytes", &ItemFilter::nbytes)
      .def("item_allowed", &item_allowed)
      .def("contains", &contains, py::arg("item_ids"))
      .def("allows", &allows, py::arg("level"), py::arg("nodes"));
}

const Registration registration(&bind);

}  // namespace
}  // namespace onesearch::bindings
