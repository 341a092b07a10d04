// Tensors for tests of operators, in memory that ends where they end.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <vector>

#include "core/dtype.h"
#include "core/tensor_view.h"

namespace onesearch::testing {

template <class T>
constexpr DType kDType = DType::kFloat32;
template <>
constexpr DType kDType<BFloat16> = DType::kBFloat16;
template <>
constexpr DType kDType<Float16> = DType::kFloat16;
template <>
constexpr DType kDType<int32_t> = DType::kInt32;

template <class T>
struct Tensor {
  std::vector<T> values;
  TensorView view;

  explicit Tensor(std::initializer_list<int64_t> shape) {
    view.dtype = kDType<T>;
    view.ndim = static_cast<int>(shape.size());
    std::copy(shape.begin(), shape.end(), view.shape.begin());
    int64_t stride = 1;
    for (int axis = view.ndim - 1; axis >= 0; --axis) {
      view.strides[axis] = stride;
      stride *= view.shape[axis];
    }
    values.resize(static_cast<size_t>(view.numel()));
    view.data = values.data();
  }

  const T& at(std::initializer_list<int64_t> index) const {
    int64_t offset = 0;
    int axis = 0;
    for (const int64_t i : index) offset += i * view.strides[axis++];
    return values[static_cast<size_t>(offset)];
  }
};

}  // namespace onesearch::testing
