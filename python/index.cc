#include <pybind11/stl.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "arrays.h"
#include "bindings.h"
#include "core/error.h"
#include "index/node_statistic.h"
#include "index/sid_trie.h"
#include "index/trie_file_builder.h"

namespace py = pybind11;

namespace onesearch::bindings {
namespace {

using Trie = std::shared_ptr<const SidTrie>;

Trie build(const py::array& codes, std::vector<int64_t> level_sizes,
           const std::optional<Vector<int64_t>>& item_ids,
           const std::optional<Vector<double>>& item_scores, bool keep_scores) {
  CatalogueCodes catalogue;
  catalogue.codes = view_of_array(codes, "SidTrie.build", "codes");
  catalogue.level_sizes = std::move(level_sizes);
  catalogue.item_ids = data_or_null(item_ids);
  catalogue.item_scores = data_or_null(item_scores);
  catalogue.keep_scores = keep_scores;
  const py::gil_scoped_release release;
  return SidTrie::build(catalogue);
}

// next_chunk() gives a CatalogueRows or None; what it gave last is kept until the next call.
void build_file(const std::string& path, std::vector<int64_t> level_sizes, bool keep_scores,
                int64_t max_memory_bytes, const std::string& scratch_folder,
                const py::function& next_chunk) {
  std::optional<Vector<int64_t>> item_ids;
  std::optional<Vector<double>> item_scores;
  py::array codes;
  const NextChunk next = [&](CatalogueCodes* chunk) {
    const py::gil_scoped_acquire acquire;
    const py::object rows = next_chunk();
    if (rows.is_none()) return false;
    codes = rows.attr("codes");
    item_ids = rows.attr("item_ids").cast<std::optional<Vector<int64_t>>>();
    item_scores = rows.attr("item_scores").cast<std::optional<Vector<double>>>();
    chunk->codes = view_of_array(codes, "SidTrie.build_file", "codes");
    chunk->item_ids = data_or_null(item_ids);
    chunk->item_scores = data_or_null(item_scores);
    return true;
  };
  const py::gil_scoped_release release;
  onesearch::build_file(
      path, {std::move(level_sizes), keep_scores, max_memory_bytes, scratch_folder}, next);
}

// `sections` gives the bytes of each, one after another.
Trie assemble(const std::vector<uint32_t>& level_sizes, const std::vector<uint32_t>& num_nodes,
              uint32_t num_items, bool has_item_ids, bool has_item_scores,
              const py::iterator& sections) {
  TrieShape shape;
  shape.num_levels = static_cast<int>(level_sizes.size());
  std::copy(level_sizes.begin(), level_sizes.end(), shape.level_sizes);
  std::copy(num_nodes.begin(), num_nodes.end(), shape.num_nodes);
  shape.num_items = num_items;
  shape.has_item_ids = has_item_ids;
  shape.has_item_scores = has_item_scores;
  const auto fill = [&sections](const SectionEntry& section, unsigned char* to) {
    const py::gil_scoped_acquire acquire;
    const auto bytes = py::module_::import("builtins").attr("next")(sections).cast<py::array>();
    if (static_cast<uint64_t>(bytes.nbytes()) != section.bytes) {
      throw InvalidArgument(complaint("SidTrie.assemble", section_name(section),
                                      std::to_string(section.bytes) + " bytes",
                                      std::to_string(bytes.nbytes())));
    }
    std::memcpy(to, bytes.data(), section.bytes);
  };
  const py::gil_scoped_release release;
  return SidTrie::assemble(shape, fill);
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

// One of the queries that give a number for each id, node or position.
template <auto kQuery>
Vector<int64_t> lookup(const SidTrie& trie, const Vector<int64_t>& keys) {
  Vector<int64_t> found(keys.size());
  int64_t* const out = found.mutable_data();
  const py::gil_scoped_release release;
  (trie.*kQuery)(keys.data(), keys.size(), out);
  return found;
}

// One of the queries that give a range for each node: (begin, end).
template <auto kQuery>
py::tuple ranges(const SidTrie& trie, int level, const Vector<int64_t>& nodes) {
  Vector<int64_t> begin(nodes.size());
  Vector<int64_t> end(nodes.size());
  int64_t* const begins = begin.mutable_data();
  int64_t* const ends = end.mutable_data();
  {
    const py::gil_scoped_release release;
    (trie.*kQuery)(level, nodes.data(), nodes.size(), begins, ends);
  }
  return py::make_tuple(begin, end);
}

// A list for each of n rows: (entries, offsets). The first query gives the offsets, and with them
// the size; the second fills the lists.
template <class Entry, class Offsets, class Fill>
py::tuple lists(py::ssize_t n, const Offsets& write_offsets, const Fill& fill) {
  Vector<int64_t> offsets(n + 1);
  int64_t* const ends = offsets.mutable_data();
  {
    const py::gil_scoped_release release;
    write_offsets(ends);
  }
  Vector<Entry> entries(ends[n]);
  Entry* const out = entries.mutable_data();
  {
    const py::gil_scoped_release release;
    fill(ends, out);
  }
  return py::make_tuple(entries, offsets);
}

py::tuple items(const SidTrie& trie, const Vector<int64_t>& ranks) {
  const int64_t* const rows = ranks.data();
  const py::ssize_t n = ranks.size();
  return lists<int64_t>(
      n, [&](int64_t* offsets) { trie.item_offsets(rows, n, offsets); },
      [&](const int64_t* offsets, int64_t* ids) { trie.items(rows, n, offsets, ids); });
}

py::tuple children(const SidTrie& trie, int level, const Vector<int64_t>& nodes) {
  const int64_t* const rows = nodes.data();
  const py::ssize_t n = nodes.size();
  return lists<int32_t>(
      n, [&](int64_t* offsets) { trie.child_offsets(level, rows, n, offsets); },
      [&](const int64_t* offsets, int32_t* tokens) {
        trie.child_tokens(level, rows, n, offsets, tokens);
      });
}

Vector<int64_t> child(const SidTrie& trie, int level, const Vector<int64_t>& nodes,
                      const Vector<int64_t>& tokens) {
  Vector<int64_t> children(nodes.size());
  int64_t* const out = children.mutable_data();
  const py::gil_scoped_release release;
  trie.child(level, nodes.data(), tokens.data(), nodes.size(), out);
  return children;
}

// `values` by row of build's input; none: the scores the trie keeps, or no values for a count.
Vector<float> statistic(const SidTrie& trie, int level, const std::optional<Vector<float>>& values,
                        int kind, double quantile) {
  trie.check_level("SidTrie.node_statistic", level, trie.view().num_levels);
  Vector<float> statistic(trie.view().num_nodes[level]);
  const float* const by_row = data_or_null(values);
  float* const out = statistic.mutable_data();
  const py::gil_scoped_release release;
  std::vector<float> by_position(by_row == nullptr ? 0 : trie.view().num_items);
  if (by_row != nullptr) order_by_position(trie.view(), by_row, by_position.data());
  node_statistic(trie.view(), level, {static_cast<NodeStatistic::Kind>(kind), quantile},
                 by_row == nullptr ? trie.view().item_scores : by_position.data(), out);
  return statistic;
}

// By row of build's input; none where the trie keeps no scores.
std::optional<Vector<float>> item_scores(const SidTrie& trie) {
  const SidTrieView& view = trie.view();
  if (view.item_scores == nullptr) return std::nullopt;
  Vector<float> by_row(view.num_items);
  float* const out = by_row.mutable_data();
  std::fill_n(out, view.num_items, 0.0f);
  for (uint32_t position = 0; position < view.num_items; ++position) {
    const int64_t row = view.item_row(position);
    if (row >= 0) out[row] = view.item_scores[position];
  }
  return by_row;
}

uint32_t num_nodes(const SidTrie& trie, int level) {
  trie.check_level("SidTrie.num_nodes", level, trie.view().num_levels);
  return trie.view().num_nodes[level];
}

// (kind, level, offset) of each section.
py::list sections(const SidTrie& trie) {
  py::list sections;
  for (const SectionEntry& section : trie.sections()) {
    sections.append(
        py::make_tuple(static_cast<uint32_t>(section.kind), section.level, section.offset));
  }
  return sections;
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
                  py::arg("item_scores"), py::arg("keep_scores"))
      .def_static("assemble", &assemble, py::arg("level_sizes"), py::arg("num_nodes"),
                  py::arg("num_items"), py::arg("has_item_ids"), py::arg("has_item_scores"),
                  py::arg("sections"))
      .def_static("build_file", &build_file, py::arg("path"), py::arg("level_sizes"),
                  py::arg("keep_scores"), py::arg("max_memory_bytes"), py::arg("scratch_folder"),
                  py::arg("next_chunk"))
      .def_static("load", &SidTrie::load, py::arg("path"), py::arg("verify"),
                  py::call_guard<py::gil_scoped_release>())
      .def("save", &SidTrie::save, py::arg("path"), py::call_guard<py::gil_scoped_release>())
      .def("verify", &SidTrie::verify, py::call_guard<py::gil_scoped_release>())
      .def_property_readonly("fingerprint", &SidTrie::fingerprint)
      .def_property_readonly("num_items", [](const SidTrie& t) { return t.view().num_items; })
      .def_property_readonly("num_sids", [](const SidTrie& t) { return t.view().num_sids(); })
      .def_property_readonly("num_levels", [](const SidTrie& t) { return t.view().num_levels; })
      .def_property_readonly("level_sizes", &level_sizes)
      .def_property_readonly("has_scores",
                             [](const SidTrie& t) { return t.view().item_scores != nullptr; })
      .def("item_scores", &item_scores)
      .def_property_readonly("nbytes", &SidTrie::nbytes)
      .def("sections", &sections)
      .def("num_nodes", &num_nodes, py::arg("level"))
      .def("child", &child, py::arg("level"), py::arg("nodes"), py::arg("tokens"))
      .def("child_range", &ranges<&SidTrie::child_range>, py::arg("level"), py::arg("nodes"))
      .def("rank_range", &ranges<&SidTrie::rank_range>, py::arg("level"), py::arg("nodes"))
      .def("item_range", &ranges<&SidTrie::item_range>, py::arg("level"), py::arg("nodes"))
      .def("children", &children, py::arg("level"), py::arg("nodes"))
      .def("rank", &rank, py::arg("codes"))
      .def("rank_of", &lookup<&SidTrie::rank_of>, py::arg("item_ids"))
      .def("rank_at", &lookup<&SidTrie::rank_at>, py::arg("positions"))
      .def("codes", &codes, py::arg("ranks"))
      .def("items", &items, py::arg("ranks"))
      .def("node_statistic", &statistic, py::arg("level"), py::arg("values"), py::arg("kind"),
           py::arg("quantile"));
}

const Registration registration(&register_trie);

}  // namespace
}  // namespace onesearch::bindings
