#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "arrays.h"
#include "bindings.h"
#include "index/sid_trie.h"

namespace py = pybind11;

namespace onesearch::bindings {
namespace {

using Trie = std::shared_ptr<const SidTrie>;

Trie build(const py::array& codes, std::vector<int64_t> level_sizes,
           const std::optional<Vector<int64_t>>& item_ids,
           const std::optional<Vector<double>>& item_scores) {
  CatalogueCodes catalogue;
  catalogue.codes = view_of_array(codes, "SidTrie.build", "codes");
  catalogue.level_sizes = std::move(level_sizes);
  catalogue.item_ids = data_or_null(item_ids);
  catalogue.item_scores = data_or_null(item_scores);
  const py::gil_scoped_release release;
  return SidTrie::build(catalogue);
}

Vector<int64_t> rank(const SidTrie& trie, const py::array& codes) {
  const TensorView view = view_of_array(codes, "SidTrie.rank", "codes");
  Vector<int64_t> ranks(view.ndim > 0 ? view.shape[0] : 0);
  int64_t* out = ranks.mutable_data();
  const py::gil_scoped_release release;
  trie.rank(view, out);
  return ranks;
}

Vector<int32_t> codes(const SidTrie& trie, const Vector<int64_t>& ranks) {
  Vector<int32_t> codes({ranks.size(), static_cast<py::ssize_t>(trie.view().num_levels)});
  int32_t* out = codes.mutable_data();
  const py::gil_scoped_release release;
  trie.codes(ranks.data(), ranks.size(), out);
  return codes;
}

py::tuple items(const SidTrie& trie, const Vector<int64_t>& ranks) {
  const py::ssize_t n = ranks.size();
  Vector<int64_t> offsets(n + 1);
  int64_t* const ends = offsets.mutable_data();
  {
    const py::gil_scoped_release release;
    trie.item_offsets(ranks.data(), n, ends);
  }
  Vector<int64_t> item_ids(ends[n]);
  int64_t* const ids = item_ids.mutable_data();
  {
    const py::gil_scoped_release release;
    trie.items(ranks.data(), n, ends, ids);
  }
  return py::make_tuple(item_ids, offsets);
}

py::tuple rank_range(const SidTrie& trie, int level, const Vector<int64_t>& nodes) {
  Vector<int64_t> begin(nodes.size());
  Vector<int64_t> end(nodes.size());
  int64_t* const begins = begin.mutable_data();
  int64_t* const ends = end.mutable_data();
  {
    const py::gil_scoped_release release;
    trie.rank_range(level, nodes.data(), nodes.size(), begins, ends);
  }
  return py::make_tuple(begin, end);
}

uint32_t num_nodes(const SidTrie& trie, int level) {
  trie.check_level("SidTrie.num_nodes", level, trie.view().num_levels);
  return trie.view().num_nodes[level];
}

py::tuple child_range(const SidTrie& trie, int level, const Vector<int64_t>& nodes) {
  Vector<int64_t> begin(nodes.size());
  Vector<int64_t> end(nodes.size());
  int64_t* const begins = begin.mutable_data();
  int64_t* const ends = end.mutable_data();
  {
    const py::gil_scoped_release release;
    trie.child_range(level, nodes.data(), nodes.size(), begins, ends);
  }
  return py::make_tuple(begin, end);
}

Vector<int64_t> child(const SidTrie& trie, int level, const Vector<int64_t>& nodes,
                      const Vector<int64_t>& tokens) {
  Vector<int64_t> children(nodes.size());
  int64_t* const out = children.mutable_data();
  const py::gil_scoped_release release;
  trie.child(level, nodes.data(), tokens.data(), nodes.size(), out);
  return children;
}

py::tuple children(const SidTrie& trie, int level, const Vector<int64_t>& nodes) {
  const py::ssize_t n = nodes.size();
  Vector<int64_t> offsets(n + 1);
  int64_t* const ends = offsets.mutable_data();
  {
    const py::gil_scoped_release release;
    trie.child_offsets(level, nodes.data(), n, ends);
  }
  Vector<int32_t> tokens(ends[n]);
  int32_t* const out = tokens.mutable_data();
  {
    const py::gil_scoped_release release;
    trie.child_tokens(level, nodes.data(), n, ends, out);
  }
  return py::make_tuple(tokens, offsets);
}

py::tuple level_sizes(const SidTrie& trie) {
  py::tuple sizes(trie.view().num_levels);
  for (int level = 0; level < trie.view().num_levels; ++level) {
    sizes[level] = trie.view().level_sizes[level];
  }
  return sizes;
}

void register_trie(py::module_& module) {
  py::class_<Catalogue, std::shared_ptr<Catalogue>>(module, "Catalogue");
  py::class_<SidTrie, Catalogue, std::shared_ptr<SidTrie>>(module, "SidTrie")
      .def_static("build", &build, py::arg("codes"), py::arg("level_sizes"), py::arg("item_ids"),
                  py::arg("item_scores"))
      .def_static("load", &SidTrie::load, py::arg("path"), py::arg("verify"),
                  py::call_guard<py::gil_scoped_release>())
      .def("save", &SidTrie::save, py::arg("path"), py::call_guard<py::gil_scoped_release>())
      .def("verify", &SidTrie::verify, py::call_guard<py::gil_scoped_release>())
      .def_property_readonly("num_items", [](const SidTrie& t) { return t.view().num_items; })
      .def_property_readonly("num_sids", [](const SidTrie& t) { return t.view().num_sids(); })
      .def_property_readonly("num_levels", [](const SidTrie& t) { return t.view().num_levels; })
      .def_property_readonly("level_sizes", &level_sizes)
      .def_property_readonly("nbytes", &SidTrie::nbytes)
      .def("num_nodes", &num_nodes, py::arg("level"))
      .def("child", &child, py::arg("level"), py::arg("nodes"), py::arg("tokens"))
      .def("child_range", &child_range, py::arg("level"), py::arg("nodes"))
      .def("children", &children, py::arg("level"), py::arg("nodes"))
      .def("rank", &rank, py::arg("codes"))
      .def("codes", &codes, py::arg("ranks"))
      .def("items", &items, py::arg("ranks"))
      .def("rank_range", &rank_range, py::arg("level"), py::arg("nodes"));
}

const Registration registration(&register_trie);

}  // namespace
}  // namespace onesearch::bindings
