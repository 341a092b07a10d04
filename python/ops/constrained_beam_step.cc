#include "ops/constrained_beam_step/constrained_beam_step.h"

#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <vector>

#include "bindings.h"
#include "core/error.h"
#include "index/item_filter.h"
#include "index/sid_trie.h"
#include "tensors.h"

namespace py = pybind11;

namespace onesearch::bindings {
namespace {

using FilterHandles = std::vector<std::shared_ptr<ItemFilter>>;

// Views of the filters, null for None; each must belong to this trie.
std::vector<ItemFilterView> filter_views(const FilterHandles& handles, const SidTrie& trie) {
  std::vector<ItemFilterView> views;
  views.reserve(handles.size());
  for (const auto& handle : handles) {
    if (handle != nullptr && &handle->catalogue() != &trie) {
      throw InvalidArgument(complaint("constrained_beam_step", "filter", "a filter of this trie",
                                      "another's", "make it with trie.filter"));
    }
    views.push_back(handle == nullptr ? ItemFilterView{} : handle->rank_view());
  }
  return views;
}

void constrained_beam_step(py::handle logits, py::handle node, py::handle beam_scores,
                           const SidTrie& trie, int64_t num_beams, int level, int normalizer,
                           py::handle log_normalizer, const std::optional<FilterHandles>& filters,
                           py::handle scores, py::handle parent_beam, py::handle tokens,
                           py::handle node_out, py::handle count) {
  const auto borrow = [](py::handle object, const char* argument) {
    return borrow_tensor(object, "constrained_beam_step", argument);
  };
  const BorrowedTensor borrowed[] = {borrow(logits, "logits"),
                                     borrow(node, "node"),
                                     borrow(beam_scores, "beam_scores"),
                                     borrow(scores, "out.scores"),
                                     borrow(parent_beam, "out.parent_beam"),
                                     borrow(tokens, "out.tokens"),
                                     borrow(node_out, "out.node"),
                                     borrow(count, "out.count")};
  std::optional<BorrowedTensor> normalizers;
  if (!log_normalizer.is_none()) normalizers = borrow(log_normalizer, "log_normalizer");

  BeamStepInput input;
  input.logits = borrowed[0].view;
  input.node = borrowed[1].view;
  input.beam_scores = borrowed[2].view;
  input.log_normalizer = normalizers ? &normalizers->view : nullptr;
  input.trie = trie.view();
  const std::vector<ItemFilterView> views = filter_views(filters.value_or(FilterHandles()), trie);
  for (const ItemFilterView& view : views) {
    input.filters.push_back(view.rank_bits == nullptr ? nullptr : &view);
  }
  input.num_beams = num_beams;
  input.level = level;
  input.normalizer = static_cast<Normalizer>(normalizer);
  const BeamStepOutput output{borrowed[3].view, borrowed[4].view, borrowed[5].view,
                              borrowed[6].view, borrowed[7].view};
  const py::gil_scoped_release release;
  onesearch::constrained_beam_step(input, output);
}

void bind(py::module_& module) {
  module.def("constrained_beam_step", &constrained_beam_step, py::arg("logits"), py::arg("node"),
             py::arg("beam_scores"), py::arg("trie"), py::arg("num_beams"), py::arg("level"),
             py::arg("normalizer"), py::arg("log_normalizer"), py::arg("filters"),
             py::arg("scores"), py::arg("parent_beam"), py::arg("tokens"), py::arg("node_out"),
             py::arg("count"));
}

const Registration registration(&bind);

}  // namespace
}  // namespace onesearch::bindings
