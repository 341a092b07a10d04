#include "index/live_store.h"

#include <pybind11/stl.h>

#include <string>
#include <utility>
#include <vector>

#include "arrays.h"
#include "bindings.h"

namespace py = pybind11;

namespace onesearch::bindings {
namespace {

template <class T>
std::vector<T> copy_of(const Vector<T>& values) {
  return std::vector<T>(values.data(), values.data() + values.size());
}

// Takes the place of a vector without copying it.
template <class T>
Vector<T> array_of(std::vector<T> values) {
  auto* owned = new std::vector<T>(std::move(values));
  const py::capsule owner(owned, [](void* at) { delete static_cast<std::vector<T>*>(at); });
  return Vector<T>(owned->size(), owned->data(), owner);
}

// Any integers: what int64 cannot hold becomes negative, and is as absent as it was.
using Codes = py::array_t<int64_t, py::array::c_style | py::array::forcecast>;

Vector<int64_t> rank(const Snapshot& snapshot, const Codes& codes) {
  Vector<int64_t> ranks(codes.shape(0));
  int64_t* const out = ranks.mutable_data();
  const py::gil_scoped_release release;
  snapshot.rank(codes.data(), ranks.size(), out);
  return ranks;
}

Vector<int32_t> codes(const Snapshot& snapshot, const Vector<int64_t>& ranks) {
  Vector<int32_t> codes({ranks.size(), static_cast<py::ssize_t>(snapshot.num_levels())});
  int32_t* const out = codes.mutable_data();
  const py::gil_scoped_release release;
  snapshot.codes(ranks.data(), ranks.size(), out);
  return codes;
}

py::tuple items(const Snapshot& snapshot, const Vector<int64_t>& ranks) {
  Vector<int64_t> offsets(ranks.size() + 1);
  int64_t* const ends = offsets.mutable_data();
  std::vector<int64_t> ids;
  {
    const py::gil_scoped_release release;
    snapshot.items(ranks.data(), ranks.size(), ends, &ids);
  }
  return py::make_tuple(array_of(std::move(ids)), offsets);
}

py::tuple children(const Snapshot& snapshot, int level, const Vector<int64_t>& nodes) {
  Vector<int64_t> offsets(nodes.size() + 1);
  int64_t* const ends = offsets.mutable_data();
  std::vector<int32_t> tokens;
  {
    const py::gil_scoped_release release;
    snapshot.children(level, nodes.data(), nodes.size(), ends, &tokens);
  }
  return py::make_tuple(array_of(std::move(tokens)), offsets);
}

Vector<int64_t> child(const Snapshot& snapshot, int level, const Vector<int64_t>& nodes,
                      const Vector<int64_t>& tokens) {
  Vector<int64_t> children(nodes.size());
  int64_t* const out = children.mutable_data();
  const py::gil_scoped_release release;
  snapshot.child(level, nodes.data(), tokens.data(), nodes.size(), out);
  return children;
}

Vector<int64_t> count_items(const Snapshot& snapshot, int level, const Vector<int64_t>& nodes) {
  Vector<int64_t> counts(nodes.size());
  int64_t* const out = counts.mutable_data();
  const py::gil_scoped_release release;
  snapshot.count_items(level, nodes.data(), nodes.size(), out);
  return counts;
}

Vector<int64_t> positions(const Snapshot& snapshot, const Vector<int64_t>& item_ids) {
  Vector<int64_t> positions(item_ids.size());
  int64_t* const out = positions.mutable_data();
  const py::gil_scoped_release release;
  snapshot.positions(item_ids.data(), item_ids.size(), out);
  return positions;
}

int64_t num_sids(const Snapshot& snapshot) {
  const py::gil_scoped_release release;
  return snapshot.num_sids();
}

py::tuple level_sizes(const Snapshot& snapshot) {
  py::tuple sizes(snapshot.num_levels());
  for (int level = 0; level < snapshot.num_levels(); ++level) {
    sizes[level] = snapshot.catalogue_view().base.level_sizes[level];
  }
  return sizes;
}

int64_t num_nodes(const Snapshot& snapshot, int level) {
  snapshot.check_level("Snapshot.num_nodes", level, snapshot.num_levels());
  return snapshot.catalogue_view().num_nodes(level);
}

LiveStoreOptions options_of(bool fsync, int64_t compact_after, bool verify) {
  LiveStoreOptions options;
  options.durability = fsync ? Durability::kFsync : Durability::kProcess;
  options.compact_after = compact_after;
  options.verify = verify;
  return options;
}

std::shared_ptr<LiveStore> create(const std::string& folder, const SidTrie& trie,
                                  const ItemColumns* columns, bool fsync, int64_t compact_after) {
  return LiveStore::create(folder, trie, columns, options_of(fsync, compact_after, false));
}

std::shared_ptr<LiveStore> open(const std::string& folder, bool verify, int64_t compact_after) {
  return LiveStore::open(folder, options_of(false, compact_after, verify));
}

uint64_t commit(LiveStore& store, Update update) {
  const py::gil_scoped_release release;
  return store.commit(std::move(update));
}

uint64_t insert(LiveStore& store, const Vector<int64_t>& item_ids, const Codes& codes,
                const Vector<float>& scores, std::shared_ptr<ItemColumns> columns) {
  Update update;
  update.kind = RecordKind::kInsert;
  update.ids = copy_of(item_ids);
  update.scores = copy_of(scores);
  update.columns = std::move(columns);
  update.set_codes(codes.data(), update.ids.size(), store.snapshot()->catalogue_view().base);
  return commit(store, std::move(update));
}

uint64_t remove(LiveStore& store, const Vector<int64_t>& item_ids, bool ignore_missing) {
  Update update;
  update.kind = RecordKind::kDelete;
  update.ids = copy_of(item_ids);
  update.ignore_missing = ignore_missing;
  return commit(store, std::move(update));
}

uint64_t update_scores(LiveStore& store, const Vector<int64_t>& item_ids,
                       const Vector<float>& scores, bool ignore_missing) {
  Update update;
  update.kind = RecordKind::kUpdateScores;
  update.ids = copy_of(item_ids);
  update.scores = copy_of(scores);
  update.ignore_missing = ignore_missing;
  return commit(store, std::move(update));
}

uint64_t update_attributes(LiveStore& store, const Vector<int64_t>& item_ids,
                           std::shared_ptr<ItemColumns> columns, bool ignore_missing) {
  Update update;
  update.kind = RecordKind::kUpdateAttributes;
  update.ids = copy_of(item_ids);
  update.columns = std::move(columns);
  update.ignore_missing = ignore_missing;
  return commit(store, std::move(update));
}

std::vector<std::pair<uint64_t, uint64_t>> versions(const LiveStore& store) {
  std::vector<std::pair<uint64_t, uint64_t>> ranges;
  for (const VersionRange range : store.versions()) ranges.emplace_back(range.first, range.last);
  return ranges;
}

void bind_snapshot(py::module_& module) {
  py::class_<Snapshot, Catalogue, std::shared_ptr<Snapshot>>(module, "Snapshot")
      .def_property_readonly("version", &Snapshot::version)
      .def_property_readonly("generation",
                             [](const Snapshot& s) { return s.generation().number(); })
      .def_property_readonly("num_items", &Snapshot::num_items)
      .def_property_readonly("num_sids", &num_sids)
      .def_property_readonly("num_levels", &Snapshot::num_levels)
      .def_property_readonly("level_sizes", &level_sizes)
      .def_property_readonly("nbytes", &Snapshot::nbytes)
      .def("num_nodes", &num_nodes, py::arg("level"))
      .def("child", &child, py::arg("level"), py::arg("nodes"), py::arg("tokens"))
      .def("children", &children, py::arg("level"), py::arg("nodes"))
      .def("count_items", &count_items, py::arg("level"), py::arg("nodes"))
      .def("base_columns", &Snapshot::base_columns)
      .def("overlay_columns", &Snapshot::overlay_columns, py::call_guard<py::gil_scoped_release>())
      .def("positions", &positions, py::arg("item_ids"))
      .def("rank", &rank, py::arg("codes"))
      .def("codes", &codes, py::arg("ranks"))
      .def("items", &items, py::arg("ranks"));
}

void bind_store(py::module_& module) {
  const py::call_guard<py::gil_scoped_release> no_gil;
  py::class_<LiveStore, std::shared_ptr<LiveStore>>(module, "LiveStore")
      .def_static("create", &create, py::arg("folder"), py::arg("trie"), py::arg("columns"),
                  py::arg("fsync"), py::arg("compact_after"), no_gil)
      .def_static("open", &open, py::arg("folder"), py::arg("verify"), py::arg("compact_after"),
                  no_gil)
      .def("close", &LiveStore::close, no_gil)
      .def("snapshot", &LiveStore::snapshot)
      .def("insert", &insert, py::arg("item_ids"), py::arg("codes"), py::arg("scores"),
           py::arg("columns"))
      .def("delete", &remove, py::arg("item_ids"), py::arg("ignore_missing"))
      .def("update_scores", &update_scores, py::arg("item_ids"), py::arg("scores"),
           py::arg("ignore_missing"))
      .def("update_attributes", &update_attributes, py::arg("item_ids"), py::arg("columns"),
           py::arg("ignore_missing"))
      .def("rollback", &LiveStore::rollback, py::arg("version"), no_gil)
      .def("versions", &versions, no_gil)
      .def("compact", &LiveStore::compact, no_gil)
      .def("wait_for_compaction", &LiveStore::wait_for_compaction, no_gil)
      .def_property_readonly(
          "fsync", [](const LiveStore& s) { return s.durability() == Durability::kFsync; })
      .def_property_readonly("torn_bytes", &LiveStore::torn_bytes);
}

void bind(py::module_& module) {
  bind_snapshot(module);
  bind_store(module);
}

const Registration registration(&bind);

}  // namespace
}  // namespace onesearch::bindings
