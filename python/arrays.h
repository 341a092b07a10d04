// numpy arrays as TensorViews and back.
#pragma once

#include <pybind11/numpy.h>

#include <optional>

#include "core/tensor_view.h"

namespace onesearch::bindings {

// Raises TypeError for a dtype the core does not know, ValueError for more than four axes or
// strides that are no multiple of the element.
TensorView view_of_array(const pybind11::array& array, const char* where, const char* argument);

// [n] without copying, kept alive by `owner`, read-only.
template <class T>
pybind11::array read_only(const T* values, size_t n, pybind11::handle owner) {
  pybind11::array_t<T> array({n}, {sizeof(T)}, values, owner);
  array.attr("setflags")(pybind11::arg("write") = false);
  return array;
}

// C-contiguous vectors of one dtype: the Python wrapper has already converted them.
template <class T>
using Vector = pybind11::array_t<T, pybind11::array::c_style>;

template <class T>
const T* data_or_null(const std::optional<Vector<T>>& vector) {
  return vector.has_value() ? vector->data() : nullptr;
}

}  // namespace onesearch::bindings
