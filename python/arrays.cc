#include "arrays.h"

#include <string>

#include "core/error.h"

namespace py = pybind11;

namespace onesearch::bindings {
namespace {

std::optional<DType> dtype_of(const py::dtype& dtype) {
  const auto bytes = static_cast<int>(dtype.itemsize());
  const auto pick = [bytes](DType one, DType two, DType four, DType eight) {
    return bytes == 1 ? one : bytes == 2 ? two : bytes == 4 ? four : eight;
  };
  const char order = dtype.byteorder();
  if (bytes > 8 || order == '>') return std::nullopt;
  switch (dtype.kind()) {
    case 'i':
      return pick(DType::kInt8, DType::kInt16, DType::kInt32, DType::kInt64);
    case 'u':
      return pick(DType::kUInt8, DType::kUInt16, DType::kUInt32, DType::kUInt64);
    case 'f':
      return pick(DType::kFloat16, DType::kFloat16, DType::kFloat32, DType::kFloat64);
    case 'b':
      return DType::kBool;
    default:
      return std::nullopt;
  }
}

}  // namespace

TensorView view_of_array(const py::array& array, const char* where, const char* argument) {
  const std::optional<DType> dtype = dtype_of(array.dtype());
  if (!dtype.has_value()) {
    throw TypeMismatch(complaint(where, argument, "a numeric dtype in native byte order",
                                 py::str(array.dtype()).cast<std::string>()));
  }
  if (array.ndim() > TensorView::kMaxDims) {
    throw InvalidArgument(
        complaint(where, argument, "at most 5 axes", std::to_string(array.ndim()) + " axes"));
  }
  TensorView view;
  view.data = const_cast<void*>(array.data());
  view.dtype = *dtype;
  view.read_only = !array.writeable();
  view.ndim = static_cast<int>(array.ndim());
  for (int axis = 0; axis < view.ndim; ++axis) {
    view.shape[axis] = array.shape(axis);
    if (array.strides(axis) % array.itemsize() != 0) {
      throw InvalidArgument(
          complaint(where, argument, "strides in whole elements",
                    "a stride of " + std::to_string(array.strides(axis)) + " bytes",
                    "pass a contiguous copy"));
    }
    view.strides[axis] = array.strides(axis) / array.itemsize();
  }
  return view;
}

}  // namespace onesearch::bindings
