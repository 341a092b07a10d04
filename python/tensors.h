// Tensors of any array library as TensorViews, without a copy.
#pragma once

#include <pybind11/pybind11.h>

#include <optional>

#include "core/tensor_view.h"

namespace onesearch::bindings {

// A view together with what keeps it valid. The object it came from must outlive it too: an
// argument of the call.
struct BorrowedTensor {
  TensorView view;
  pybind11::object keeper;
};

// By the DLPack exchange table of the object's type when it has one (torch), as an array (numpy),
// else through its `__dlpack__`. Raises TypeError for anything else, naming `where` and `argument`.
// Refuses what the native side cannot see: a torch tensor whose memory holds the opposite of what
// torch shows, and one whose gradient would be lost.
BorrowedTensor borrow_tensor(pybind11::handle object, const char* where, const char* argument);

// The same of a tensor that may be None.
std::optional<BorrowedTensor> borrow_optional(pybind11::handle object, const char* where,
                                              const char* argument);

// Null where there is none.
inline const TensorView* view_of(const std::optional<BorrowedTensor>& borrowed) {
  return borrowed ? &borrowed->view : nullptr;
}

// The CUDA stream that torch works on now, on the device of this tensor of its.
void* current_stream(pybind11::handle object, const TensorView& view);

}  // namespace onesearch::bindings
