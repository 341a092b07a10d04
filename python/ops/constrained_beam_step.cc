#include "ops/constrained_beam_step/constrained_beam_step.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bindings.h"
#include "core/error.h"
#include "cuda/cuda_library.h"
#include "index/catalogue.h"
#include "index/item_filter.h"
#include "ops/constrained_beam_step/check.h"
#include "ops/constrained_beam_step/device_step.h"
#include "tensors.h"

namespace py = pybind11;

namespace onesearch::bindings {
namespace {

constexpr char kWhere[] = "constrained_beam_step";

// A tensor and the object that keeps it.
struct HeldTensor {
  HeldTensor(py::object tensor, const char* argument)
      : owner(std::move(tensor)), borrowed(borrow_tensor(owner, kWhere, argument)) {}

  py::object owner;
  BorrowedTensor borrowed;
};

class OptionalTensor {
 public:
  OptionalTensor(py::object tensor, const char* argument) {
    if (!tensor.is_none()) held_.emplace(std::move(tensor), argument);
  }
  const TensorView* view() const { return held_ ? &held_->borrowed.view : nullptr; }

 private:
  std::optional<HeldTensor> held_;
};

// The tensors of a result, looked at once for many steps.
class ResultTensors {
 public:
  ResultTensors(py::object scores, py::object parent_beam, py::object tokens, py::object node,
                py::object count, py::object best_dropped, py::object perturbed)
      : held_{{std::move(scores), "out.scores"}, {std::move(parent_beam), "out.parent_beam"},
              {std::move(tokens), "out.tokens"}, {std::move(node), "out.node"},
              {std::move(count), "out.count"},   {std::move(best_dropped), "out.best_dropped"}},
        perturbed_(std::move(perturbed), "out.perturbed"),
        view_{held_[0].borrowed.view, held_[1].borrowed.view, held_[2].borrowed.view,
              held_[3].borrowed.view, held_[4].borrowed.view, held_[5].borrowed.view,
              perturbed_.view()} {
    check_beam_step_output(view_);
  }
  ResultTensors(const ResultTensors&) = delete;
  ResultTensors& operator=(const ResultTensors&) = delete;

  const BeamStepOutput& view() const { return view_; }

 private:
  HeldTensor held_[6];
  OptionalTensor perturbed_;
  BeamStepOutput view_;
};

class Options {
 public:
  Options(py::object node_prior, int64_t max_children_per_parent, float sibling_penalty,
          py::object beam_widths, py::object seed, py::object path, py::object perturbed)
      : node_prior_(std::move(node_prior), "options.node_prior"),
        beam_widths_(std::move(beam_widths), "options.beam_widths"),
        seed_(std::move(seed), "options.gumbel.seed"),
        path_(std::move(path), "options.gumbel.path"),
        perturbed_(std::move(perturbed), "options.gumbel.perturbed"),
        view_{node_prior_.view(), max_children_per_parent, sibling_penalty, beam_widths_.view(),
              nullptr} {
    if (seed_.view() == nullptr || path_.view() == nullptr || perturbed_.view() == nullptr) return;
    gumbel_ = {*seed_.view(), *path_.view(), *perturbed_.view()};
    view_.gumbel = &gumbel_;
  }
  Options(const Options&) = delete;
  Options& operator=(const Options&) = delete;

  const BeamStepOptions& view() const { return view_; }

 private:
  OptionalTensor node_prior_, beam_widths_, seed_, path_, perturbed_;
  GumbelNoise gumbel_;
  BeamStepOptions view_;
};

// The native object behind a public one, or the object itself where it is native.
py::object handle_of(py::handle object) {
  static PyObject* const name = PyUnicode_InternFromString("_handle");
  PyObject* const handle = PyObject_GetAttr(object.ptr(), name);
  if (handle != nullptr) return py::reinterpret_steal<py::object>(handle);
  PyErr_Clear();
  return py::reinterpret_borrow<py::object>(object);
}

bool is_sequence(py::handle object) {
  return py::isinstance<py::list>(object) || py::isinstance<py::tuple>(object);
}

template <class Native>
const Native& native(py::handle handle, py::handle given, const char* argument,
                     const char* expected) {
  py::detail::make_caster<Native> caster;
  if (caster.load(handle, /*convert=*/false)) return caster;
  const auto got = py::str(py::type::of(given)).cast<std::string>();
  throw TypeMismatch(complaint(kWhere, argument, expected, got));
}

// Tries and filters as callers give them: one, or a sequence with one per request.
class Searched {
 public:
  Searched(py::handle trie, py::handle filter) {
    for_each(trie, [this](py::handle one) { add_catalogue(one); });
    if (filter.is_none()) return;
    filter_views_.reserve(is_sequence(filter) ? py::len(filter) : 1);  // pointers into it stay
    for_each(filter, [this](py::handle one) { add_filter(one); });
    const size_t requests = std::max(owners_.size(), catalogues_.size());
    for (size_t request = 0; request < requests; ++request) check_owner(request);
  }

  PerRequest<CatalogueView> catalogues() const {
    return {catalogues_.data(), static_cast<int64_t>(catalogues_.size())};
  }
  PerRequest<CatalogueFilterView> filters() const {
    return {filters_.data(), static_cast<int64_t>(filters_.size())};
  }

 private:
  template <class Add>
  static void for_each(py::handle object, Add add) {
    if (!is_sequence(object)) return add(object);
    for (const py::handle one : object) add(one);
  }

  void add_catalogue(py::handle given) {
    handles_.push_back(handle_of(given));
    const auto& catalogue =
        native<Catalogue>(handles_.back(), given, "trie", "a SidTrie or a Snapshot");
    catalogues_.push_back(&catalogue.catalogue_view());
  }

  void add_filter(py::handle given) {
    owners_.push_back(nullptr);
    filters_.push_back(nullptr);
    if (given.is_none()) return;
    handles_.push_back(handle_of(given));
    const auto& filter = native<ItemFilter>(handles_.back(), given, "filter", "an ItemFilter");
    filter_views_.push_back(filter.view());
    filters_.back() = &filter_views_.back();
    owners_.back() = &filter.catalogue().catalogue_view();
  }

  // Wrong numbers of tries or filters are left to the operator's own check.
  void check_owner(size_t request) const {
    const auto of = [request](const auto& all) {
      return request < all.size() ? all[request] : all.front();
    };
    if (of(owners_) == nullptr || of(owners_) == of(catalogues_)) return;
    throw InvalidArgument(complaint(kWhere, "filter", "a filter of this trie", "another's",
                                    "make it with trie.filter"));
  }

  std::vector<py::object> handles_;
  std::vector<const CatalogueView*> catalogues_;
  std::vector<const CatalogueView*> owners_;  // of the filters
  std::vector<CatalogueFilterView> filter_views_;
  std::vector<const CatalogueFilterView*> filters_;
};

int64_t integer(py::handle object, const char* argument) {
  // Truth is a number to Python, and never meant here; numpy's integers are.
  if (!PyBool_Check(object.ptr()) && PyIndex_Check(object.ptr())) {
    const Py_ssize_t value = PyNumber_AsSsize_t(object.ptr(), nullptr);  // clamps what is too large
    if (value == -1 && PyErr_Occurred() != nullptr) throw py::error_already_set();
    return value;
  }
  const auto got = py::str(py::type::of(object)).cast<std::string>();
  throw TypeMismatch(complaint(kWhere, argument, "an integer", got));
}

Normalizer normalizer_named(py::handle name) {
  constexpr const char* kNames[] = {"level", "children", "none", "vocab"};
  for (int i = 0; i < 4; ++i) {
    const bool same =
        PyUnicode_Check(name.ptr()) && PyUnicode_CompareWithASCIIString(name.ptr(), kNames[i]) == 0;
    if (same) return static_cast<Normalizer>(i);
  }
  throw InvalidArgument(complaint(kWhere, "normalizer", "one of level, children, none, vocab",
                                  py::str(name).cast<std::string>()));
}

// The arguments of a call. Destroyed with the GIL held.
class Call {
 public:
  Call(py::handle logits, py::handle node, py::handle beam_scores, py::handle trie,
       py::handle num_beams, py::handle level, py::handle normalizer, py::object log_normalizer,
       py::handle filter, py::handle options)
      : borrowed_{borrow_tensor(logits, kWhere, "logits"), borrow_tensor(node, kWhere, "node"),
                  borrow_tensor(beam_scores, kWhere, "beam_scores")},
        log_normalizer_(std::move(log_normalizer), "log_normalizer"),
        searched_(trie, filter) {
    input_.logits = borrowed_[0].view;
    input_.node = borrowed_[1].view;
    input_.beam_scores = borrowed_[2].view;
    input_.log_normalizer = log_normalizer_.view();
    input_.catalogues = searched_.catalogues();
    input_.filters = searched_.filters();
    input_.num_beams = integer(num_beams, "num_beams");
    input_.level = static_cast<int>(std::clamp<int64_t>(integer(level, "level"), -1, 1000));
    input_.normalizer = normalizer_named(normalizer);
    if (options.is_none()) return;
    options_ = handle_of(options);
    input_.options = &native<Options>(options_, options, "options", "BeamStepOptions").view();
  }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  const BeamStepInput& input() const { return input_; }

 private:
  BorrowedTensor borrowed_[3];
  OptionalTensor log_normalizer_;
  Searched searched_;
  py::object options_;
  BeamStepInput input_;
};

void constrained_beam_step(py::handle logits, py::handle node, py::handle beam_scores,
                           py::handle trie, py::handle num_beams, py::handle level,
                           py::handle normalizer, py::object log_normalizer, py::handle filter,
                           py::handle options, py::handle out) {
  const Call call(logits, node, beam_scores, trie, num_beams, level, normalizer,
                  std::move(log_normalizer), filter, options);
  const py::object handle = handle_of(out);
  const BeamStepOutput& output =
      native<ResultTensors>(handle, out, "out", "a BeamStepResult").view();
  const py::gil_scoped_release release;
  onesearch::constrained_beam_step(call.input(), output);
}

// For backends of other languages: refuses what the native one refuses. `out` may be None.
void check_constrained_beam_step(py::handle logits, py::handle node, py::handle beam_scores,
                                 py::handle trie, py::handle num_beams, py::handle level,
                                 py::handle normalizer, py::object log_normalizer,
                                 py::handle filter, py::handle options, py::handle out) {
  const Call call(logits, node, beam_scores, trie, num_beams, level, normalizer,
                  std::move(log_normalizer), filter, options);
  if (out.is_none()) return onesearch::check_constrained_beam_step(call.input());
  const py::object handle = handle_of(out);
  const auto& tensors = native<ResultTensors>(handle, out, "out", "a BeamStepResult");
  onesearch::check_constrained_beam_step(call.input(), tensors.view());
}

const OnesearchCudaDevice& device_of(const TensorView& tensor) {
  static const CudaInfo info = cuda_info();
  const auto index = static_cast<size_t>(tensor.device_index);
  if (tensor.device == Device::kCuda && index < info.devices.size()) return info.devices[index];
  throw InvalidArgument(complaint(kWhere, "logits", "a tensor on a CUDA device", "another",
                                  info.why_not.empty() ? "" : info.why_not));
}

// How the CUDA backend cuts a step: shares, whether they are a cluster, and bytes of memory.
py::tuple plan_beam_step(py::handle logits, int64_t num_beams) {
  const BorrowedTensor borrowed = borrow_tensor(logits, kWhere, "logits");
  const TensorView& view = borrowed.view;
  const OnesearchCudaDevice& device = device_of(view);
  DeviceBeamStep step;
  step.dtype = view.dtype;
  step.batch = static_cast<uint32_t>(view.shape[0]);
  step.beams = static_cast<uint32_t>(view.shape[1]);
  step.codes = static_cast<uint32_t>(view.shape[2]);
  step.num_beams = static_cast<uint32_t>(num_beams);
  check_shared_memory(step, device.shared_bytes);
  plan_shares(static_cast<uint32_t>(device.num_sms), device.major >= 9, &step);
  return py::make_tuple(step.shares, step.cluster, list_bytes(step));
}

// Enqueues the step on the current stream. `slots` [batch, bytes] and `memory` lie on the device.
void constrained_beam_step_cuda(py::handle logits, py::handle node, py::handle beam_scores,
                                py::handle trie, py::handle num_beams, py::handle level,
                                py::handle normalizer, py::object log_normalizer, py::handle filter,
                                py::handle options, py::handle out, py::handle slots,
                                uint32_t shares, bool cluster, py::handle memory) {
  const Call call(logits, node, beam_scores, trie, num_beams, level, normalizer,
                  std::move(log_normalizer), filter, options);
  const py::object handle = handle_of(out);
  const BeamStepOutput& output =
      native<ResultTensors>(handle, out, "out", "a BeamStepResult").view();
  onesearch::check_constrained_beam_step(call.input(), output);
  device_of(call.input().logits);
  const BorrowedTensor slot_table = borrow_tensor(slots, kWhere, "slots");
  const BorrowedTensor lists = borrow_tensor(memory, kWhere, "memory");
  DeviceBeamStep step =
      device_step(call.input(), output, static_cast<const BeamStepSlot*>(slot_table.view.data));
  step.shares = shares;
  step.cluster = cluster;
  place_lists(lists.view.data, &step);
  void* const stream = current_stream(logits, call.input().logits);
  const py::gil_scoped_release release;
  launch_constrained_beam_step(step, call.input().logits.device_index, stream);
}

template <class Function>
void define(py::module_& module, const char* name, Function function) {
  module.def(name, function, py::arg("logits"), py::arg("node"), py::arg("beam_scores"),
             py::arg("trie"), py::arg("num_beams"), py::arg("level"), py::arg("normalizer"),
             py::arg("log_normalizer"), py::arg("filter"), py::arg("options"), py::arg("out"));
}

void bind(py::module_& module) {
  py::class_<Options>(module, "BeamStepOptions")
      .def(py::init<py::object, int64_t, float, py::object, py::object, py::object, py::object>(),
           py::arg("node_prior"), py::arg("max_children_per_parent"), py::arg("sibling_penalty"),
           py::arg("beam_widths"), py::arg("gumbel_seed"), py::arg("gumbel_path"),
           py::arg("gumbel_perturbed"));
  py::class_<ResultTensors>(module, "BeamStepResult")
      .def(py::init<py::object, py::object, py::object, py::object, py::object, py::object,
                    py::object>(),
           py::arg("scores"), py::arg("parent_beam"), py::arg("tokens"), py::arg("node"),
           py::arg("count"), py::arg("best_dropped"), py::arg("perturbed"));
  define(module, "constrained_beam_step", &constrained_beam_step);
  define(module, "check_constrained_beam_step", &check_constrained_beam_step);
  module.def("plan_beam_step", &plan_beam_step, py::arg("logits"), py::arg("num_beams"));
  module.def("constrained_beam_step_cuda", &constrained_beam_step_cuda, py::arg("logits"),
             py::arg("node"), py::arg("beam_scores"), py::arg("trie"), py::arg("num_beams"),
             py::arg("level"), py::arg("normalizer"), py::arg("log_normalizer"), py::arg("filter"),
             py::arg("options"), py::arg("out"), py::arg("slots"), py::arg("shares"),
             py::arg("cluster"), py::arg("memory"));
}

const Registration registration(&bind);

}  // namespace
}  // namespace onesearch::bindings
