// Refusals of tensors at the entry of an operator, in one sentence form.
#pragma once

#include <initializer_list>
#include <string>

#include "core/tensor_view.h"

namespace onesearch {

// Checks of one operator's tensors. Sentences are made only when a check fails: an
// entry that refuses nothing costs nanoseconds.
class TensorCheck {
 public:
  enum Devices { kCpuOnly, kAnyDevice };

  // An operator with kernels for a GPU takes any device, and calls one_device and on_cpu.
  explicit TensorCheck(const char* where, Devices devices = kCpuOnly)
      : where_(where), devices_(devices) {}

  // A size by its axis: {"batch", 8}
  struct Axis {
    const char* name;
    int64_t size;
  };

  // An argument, null when it is absent.
  struct Named {
    const TensorView* tensor;
    const char* argument;
  };

  // Throws TypeMismatch for another dtype, InvalidArgument for another shape or device.
  void tensor(const TensorView& tensor, const char* argument, DType dtype,
              std::initializer_list<Axis> axes) const;

  // float32, bfloat16 or float16, with so many axes; InvalidArgument or TypeMismatch.
  void floats(const TensorView& tensor, const char* argument, int num_axes) const;

  // The last axis contiguous, unless the tensor is empty.
  void contiguous_rows(const TensorView& tensor, const char* argument) const;

  void writable(const TensorView& tensor, const char* argument) const;

  // All on the device of the first, which is a CPU or a GPU.
  void one_device(std::initializer_list<Named> arguments) const;

  // For entries that compute on the CPU.
  void on_cpu(const TensorView& tensor, const char* argument) const;

  // What a norm adds to a mean of squares: finite and at least 0.
  void eps(float eps) const;

  [[noreturn]] void refuse(const char* argument, const std::string& expected,
                           const std::string& got, const std::string& remedy = "") const;

 private:
  const char* where_;
  Devices devices_;
};

}  // namespace onesearch
