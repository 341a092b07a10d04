#include "index/device_image.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <tuple>
#include <vector>

#include "bindings.h"
#include "index/item_filter.h"
#include "index/sid_trie.h"
#include "index/snapshot.h"
#include "ops/constrained_beam_step/device_step.h"

namespace py = pybind11;

namespace onesearch::bindings {
namespace {

// What of a catalogue or a filter goes to a device in one transfer.
class DeviceImage {
 public:
  // Fills in its part of a slot.
  using Pack = std::function<void(ImagePacker*, BeamStepSlot*)>;

  DeviceImage(std::shared_ptr<const void> owner, Pack pack)
      : owner_(std::move(owner)), pack_(std::move(pack)) {
    ImagePacker packer(0);
    pack_(&packer, &slot_);
    bytes_ = packer.bytes();
  }

  size_t bytes() const { return bytes_; }

  // The bytes that are to stand at `address`, which it remembers.
  py::array_t<uint8_t> pack(uint64_t address) {
    py::array_t<uint8_t> image(static_cast<py::ssize_t>(bytes_));
    uint8_t* const to = image.mutable_data();
    const py::gil_scoped_release release;
    std::memset(to, 0, bytes_);
    ImagePacker packer(address, to);
    pack_(&packer, &slot_);
    return image;
  }

  const BeamStepSlot& slot() const { return slot_; }

 private:
  std::shared_ptr<const void> owner_;
  Pack pack_;
  BeamStepSlot slot_;
  size_t bytes_ = 0;
};

using Image = std::unique_ptr<DeviceImage>;

Image of_trie(const std::shared_ptr<Catalogue>& catalogue) {
  return std::make_unique<DeviceImage>(
      catalogue, [catalogue = catalogue.get()](ImagePacker* packer, BeamStepSlot* slot) {
        slot->catalogue.base = pack_trie(catalogue->catalogue_view().base, packer);
      });
}

Image of_changes(const std::shared_ptr<Catalogue>& catalogue) {
  return std::make_unique<DeviceImage>(
      catalogue, [catalogue = catalogue.get()](ImagePacker* packer, BeamStepSlot* slot) {
        slot->catalogue = pack_changes(catalogue->catalogue_view(), packer);
      });
}

Image of_filter(const std::shared_ptr<ItemFilter>& filter) {
  return std::make_unique<DeviceImage>(
      filter, [filter = filter.get()](ImagePacker* packer, BeamStepSlot* slot) {
        const CatalogueView& catalogue = filter->catalogue().catalogue_view();
        slot->filter = pack_filter(filter->view(), catalogue, packer);
      });
}

// Names the base trie, which the versions of one generation share.
uint64_t base_of(const Catalogue& catalogue) {
  if (const auto* trie = dynamic_cast<const SidTrie*>(&catalogue)) return trie->fingerprint();
  return dynamic_cast<const Snapshot&>(catalogue).generation().trie().fingerprint();
}

// One request's trie, changes and filter.
using Searched = std::tuple<const DeviceImage*, const DeviceImage*, const DeviceImage*>;

py::array_t<uint8_t> beam_step_slots(const std::vector<Searched>& requests) {
  const auto n = static_cast<py::ssize_t>(requests.size());
  py::array_t<uint8_t> slots({n, static_cast<py::ssize_t>(sizeof(BeamStepSlot))});
  for (py::ssize_t i = 0; i < n; ++i) {
    const auto& [trie, changes, filter] = requests[static_cast<size_t>(i)];
    BeamStepSlot slot = changes->slot();
    slot.catalogue.base = trie->slot().catalogue.base;
    if (filter != nullptr) slot.filter = filter->slot().filter;
    std::memcpy(slots.mutable_data(i, 0), &slot, sizeof slot);
  }
  return slots;
}

void bind(py::module_& module) {
  py::class_<DeviceImage>(module, "DeviceImage")
      .def_static("of_trie", &of_trie, py::arg("catalogue"))
      .def_static("of_changes", &of_changes, py::arg("catalogue"))
      .def_static("of_filter", &of_filter, py::arg("filter"))
      .def_property_readonly("nbytes", &DeviceImage::bytes)
      .def("pack", &DeviceImage::pack, py::arg("address"));
  module.def("base_of", &base_of, py::arg("catalogue"));
  module.def("beam_step_slots", &beam_step_slots, py::arg("requests"));
}

const Registration registration(&bind);

}  // namespace
}  // namespace onesearch::bindings
