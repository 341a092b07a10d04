#include "core/tensor_check.h"

#include <cmath>

#include "core/error.h"

namespace onesearch {
namespace {

std::string axes_text(std::initializer_list<TensorCheck::Axis> axes) {
  std::string names = "[";
  std::string sizes = "[";
  for (const TensorCheck::Axis& axis : axes) {
    const char* separator = names.size() > 1 ? ", " : "";
    names += separator + std::string(axis.name);
    sizes += separator + std::to_string(axis.size);
  }
  return names + "] = " + sizes + "]";
}

bool has_shape(const TensorView& tensor, std::initializer_list<TensorCheck::Axis> axes) {
  if (tensor.ndim != static_cast<int>(axes.size())) return false;
  int at = 0;
  for (const TensorCheck::Axis& axis : axes) {
    if (tensor.shape[at++] != axis.size) return false;
  }
  return true;
}

}  // namespace

void TensorCheck::refuse(const char* argument, const std::string& expected, const std::string& got,
                         const std::string& remedy) const {
  throw InvalidArgument(complaint(where_, argument, expected, got, remedy));
}

void TensorCheck::tensor(const TensorView& tensor, const char* argument, DType dtype,
                         std::initializer_list<Axis> axes) const {
  if (tensor.dtype != dtype) {
    throw TypeMismatch(complaint(where_, argument, dtype_name(dtype), dtype_name(tensor.dtype),
                                 "convert it with .to(dtype)"));
  }
  if (!has_shape(tensor, axes)) refuse(argument, axes_text(axes), shape_text(tensor));
  if (devices_ == kCpuOnly) on_cpu(tensor, argument);
}

void TensorCheck::floats(const TensorView& tensor, const char* argument, int num_axes) const {
  const DType dtype = tensor.dtype;
  if (dtype != DType::kFloat32 && dtype != DType::kBFloat16 && dtype != DType::kFloat16) {
    throw TypeMismatch(complaint(where_, argument, "float32, bfloat16 or float16",
                                 dtype_name(dtype), "convert it with .to(dtype)"));
  }
  if (tensor.ndim != num_axes) {
    refuse(argument, std::to_string(num_axes) + " axes", shape_text(tensor));
  }
  if (devices_ == kCpuOnly) on_cpu(tensor, argument);
}

void TensorCheck::contiguous_rows(const TensorView& tensor, const char* argument) const {
  const int last = tensor.ndim - 1;
  if (tensor.strides[last] == 1 || tensor.shape[last] == 1 || tensor.numel() == 0) return;
  refuse(argument, "a contiguous last axis", "a stride of " + std::to_string(tensor.strides[last]),
         "pass " + std::string(argument) + ".contiguous()");
}

void TensorCheck::writable(const TensorView& tensor, const char* argument) const {
  if (tensor.read_only) refuse(argument, "writable memory", "read-only memory");
}

void TensorCheck::one_device(std::initializer_list<Named> arguments) const {
  const Named& first = *arguments.begin();
  if (first.tensor->device == Device::kOther) {
    refuse(first.argument, "a CPU or CUDA tensor", "one on another device");
  }
  for (const Named& one : arguments) {
    const bool same =
        one.tensor == nullptr || (one.tensor->device == first.tensor->device &&
                                  one.tensor->device_index == first.tensor->device_index);
    if (same) continue;
    refuse(one.argument, "a tensor on the device of " + std::string(first.argument),
           "one on another device", "move it with .to(device)");
  }
}

void TensorCheck::eps(float eps) const {
  if (std::isfinite(eps) && eps >= 0.0f) return;
  refuse("eps", "a finite number of at least 0", std::to_string(eps));
}

void TensorCheck::on_cpu(const TensorView& tensor, const char* argument) const {
  if (tensor.device != Device::kCpu) refuse(argument, "a CPU tensor", "one on another device");
}

}  // namespace onesearch
