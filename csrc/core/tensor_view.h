// A tensor seen from the native core: where it lies and how it is strided. Owns nothing.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>

#include "core/dtype.h"

namespace onesearch {

enum class Device : uint8_t { kCpu, kCuda, kOther };

struct TensorView {
  static constexpr int kMaxDims = 5;

  void* data = nullptr;
  DType dtype = DType::kFloat32;
  Device device = Device::kCpu;
  int device_index = 0;
  bool read_only = false;
  int ndim = 0;
  std::array<int64_t, kMaxDims> shape{};
  std::array<int64_t, kMaxDims> strides{};  // in elements

  int64_t numel() const {
    int64_t count = 1;
    for (int axis = 0; axis < ndim; ++axis) count *= shape[axis];
    return count;
  }

  template <class T>
  T* at(int64_t i) const {
    return static_cast<T*>(data) + i * strides[0];
  }
  template <class T>
  T* at(int64_t i, int64_t j) const {
    return at<T>(i) + j * strides[1];
  }
  template <class T>
  T* at(int64_t i, int64_t j, int64_t k) const {
    return at<T>(i, j) + k * strides[2];
  }
  // The address at the leading indices.
  void* element(std::initializer_list<int64_t> index) const {
    int64_t offset = 0;
    int axis = 0;
    for (const int64_t i : index) offset += i * strides[axis++];
    return static_cast<unsigned char*>(data) + offset * dtype_bytes(dtype);
  }
};

// "[2, 3]"
inline std::string shape_text(const TensorView& tensor) {
  std::string text = "[";
  for (int axis = 0; axis < tensor.ndim; ++axis) {
    if (axis > 0) text += ", ";
    text += std::to_string(tensor.shape[axis]);
  }
  return text + "]";
}

}  // namespace onesearch
