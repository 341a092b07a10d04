#include "index/item_columns.h"

#include <pybind11/stl.h>

#include <string>
#include <tuple>
#include <vector>

#include "arrays.h"
#include "bindings.h"
#include "core/error.h"
#include "index/item_predicate.h"
#include "index/sid_trie.h"

namespace py = pybind11;

namespace onesearch::bindings {
namespace {

using Release = py::call_guard<py::gil_scoped_release>;

// name, kind, values, missing, categories, list_begin; the wrapper has checked shapes and dtypes.
using Rows = std::tuple<std::string, int, py::array, std::optional<Vector<bool>>,
                        std::vector<std::string>, std::optional<Vector<int64_t>>>;

ColumnRows rows_of(const Rows& given) {
  const auto& [name, kind, values, missing, categories, list_begin] = given;
  ColumnRows rows;
  rows.name = name;
  rows.kind = static_cast<ColumnKind>(kind);
  rows.values = view_of_array(values, "ItemColumns.build", name.c_str());
  rows.missing = data_or_null(missing);
  rows.categories = categories;
  rows.list_begin = data_or_null(list_begin);
  return rows;
}

ItemColumnsHandle build(uint32_t num_items, const std::vector<Rows>& given, const SidTrie* trie) {
  std::vector<ColumnRows> rows;
  for (const Rows& one : given) rows.push_back(rows_of(one));
  const py::gil_scoped_release release;
  if (trie == nullptr) return ItemColumns::build(num_items, rows);
  return ItemColumns::build(num_items, rows, trie->view().item_rows, trie->fingerprint());
}

const ColumnView& column_of(const ItemColumns& columns, const std::string& name) {
  const ColumnView* column = columns.find(name);
  if (column != nullptr) return *column;
  throw InvalidArgument(complaint("ItemColumns", "name", "one of the columns", "'" + name + "'"));
}

py::dict kinds(const ItemColumns& columns) {
  py::dict kinds;
  for (const ColumnView& column : columns.columns()) {
    kinds[py::str(column.name)] = column_kind_name(column.kind);
  }
  return kinds;
}

// Texts of an unverified file may be any bytes.
py::str text_of(std::string_view text) {
  return py::reinterpret_steal<py::str>(
      PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "replace"));
}

py::object category_value(const ColumnView& column, uint32_t code) {
  if (column.kind == ColumnKind::kCategory) return text_of(column.category(code));
  const ColumnView::CodeRange list = column.list(code);
  py::list texts;
  for (const uint32_t* one = list.begin; one < list.end; ++one) {
    texts.append(text_of(column.category(*one)));
  }
  return texts;
}

py::object value_at(const ColumnView& column, uint32_t position) {
  if (missing_at(column, position)) return py::none();
  if (column.kind == ColumnKind::kReal) return py::float_(real_at(column, position));
  if (column.has_codes()) {
    return category_value(column, static_cast<uint32_t>(integer_at(column, position)));
  }
  if (column.kind == ColumnKind::kInteger) return py::int_(integer_at(column, position));
  return py::bool_(bit_at(static_cast<const uint64_t*>(column.values), position));
}

py::list values(const ItemColumns& columns, const std::string& name,
                const Vector<int64_t>& positions) {
  const ColumnView& column = column_of(columns, name);
  py::list values;
  for (py::ssize_t i = 0; i < positions.size(); ++i) {
    const int64_t position = positions.at(i);
    if (position < 0 || position >= column.num_items) {
      throw InvalidArgument(complaint("ItemColumns.values", "positions",
                                      "positions in [0, " + std::to_string(column.num_items) + ")",
                                      std::to_string(position)));
    }
    values.append(value_at(column, static_cast<uint32_t>(position)));
  }
  return values;
}

py::list categories(const ItemColumns& columns, const std::string& name) {
  const ColumnView& column = column_of(columns, name);
  py::list texts;
  for (uint32_t code = 0; code < column.num_categories; ++code) {
    texts.append(text_of(column.category(code)));
  }
  return texts;
}

void bind_columns(py::module_& module) {
  py::class_<ItemColumns, std::shared_ptr<ItemColumns>>(module, "ItemColumns")
      .def_static("build", &build, py::arg("num_items"), py::arg("rows"), py::arg("trie"))
      .def_static("load", &ItemColumns::load, py::arg("path"), py::arg("verify"), Release())
      .def("save", &ItemColumns::save, py::arg("path"), Release())
      .def("verify", &ItemColumns::verify, Release())
      .def(
          "evaluate",
          [](const ItemColumns& columns, const ItemPredicate& predicate) {
            return evaluate(predicate, columns);
          },
          py::arg("predicate"), Release())
      .def("values", &values, py::arg("name"), py::arg("positions"))
      .def("categories", &categories, py::arg("name"))
      .def_property_readonly("kinds", &kinds)
      .def_property_readonly("num_items", &ItemColumns::num_items)
      .def_property_readonly("fingerprint", &ItemColumns::catalogue)
      .def_property_readonly("nbytes", &ItemColumns::nbytes);
}

void bind_predicate(py::module_& module) {
  py::class_<ItemPredicate>(module, "ItemPredicate")
      .def(py::init<>())
      .def("add_integers", &ItemPredicate::add_integers, py::arg("column"), py::arg("low"),
           py::arg("high"))
      .def("add_reals", &ItemPredicate::add_reals, py::arg("column"), py::arg("low"),
           py::arg("high"))
      .def("add_texts", &ItemPredicate::add_texts, py::arg("column"), py::arg("texts"))
      .def("add_true", &ItemPredicate::add_true, py::arg("column"))
      .def("add_missing", &ItemPredicate::add_missing, py::arg("column"))
      .def("join_all", &ItemPredicate::join_all, py::arg("n"))
      .def("join_any", &ItemPredicate::join_any, py::arg("n"))
      .def("negate", &ItemPredicate::negate);
}

void bind_set(py::module_& module) {
  py::class_<ItemSet, std::shared_ptr<ItemSet>>(module, "ItemSet")
      .def_property_readonly("num_items", &ItemSet::num_items)
      .def_property_readonly("count", &ItemSet::count)
      .def_property_readonly("nbytes", &ItemSet::nbytes);
}

void bind(py::module_& module) {
  bind_set(module);
  bind_predicate(module);
  bind_columns(module);
}

const Registration registration(&bind);

}  // namespace
}  // namespace onesearch::bindings
