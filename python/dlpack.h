// The part of the DLPack C ABI (major version 1) that the bindings read. Layouts are fixed by that
// standard.
#pragma once

#include <cstdint>

namespace onesearch::dlpack {

struct Version {
  uint32_t major;
  uint32_t minor;
};

enum DeviceType : int32_t { kCpu = 1, kCuda = 2 };

struct Device {
  int32_t device_type;
  int32_t device_id;
};

enum TypeCode : uint8_t { kInt = 0, kUInt = 1, kFloat = 2, kBFloat = 4, kBool = 6 };

struct DataType {
  uint8_t code;
  uint8_t bits;
  uint16_t lanes;
};

struct Tensor {
  void* data;
  Device device;
  int32_t ndim;
  DataType dtype;
  int64_t* shape;
  int64_t* strides;  // in elements; null for a contiguous tensor
  uint64_t byte_offset;
};

struct ManagedTensor {
  Tensor tensor;
  void* manager_context;
  void (*deleter)(ManagedTensor*);
};

constexpr uint64_t kReadOnly = 1;

struct ManagedTensorVersioned {
  Version version;
  void* manager_context;
  void (*deleter)(ManagedTensorVersioned*);
  uint64_t flags;
  Tensor tensor;
};

struct ExchangeApiHeader {
  Version version;
  ExchangeApiHeader* previous;
};

// A type's table of conversions, in the capsule `type.__dlpack_c_exchange_api__`.
struct ExchangeApi {
  ExchangeApiHeader header;
  void* managed_tensor_allocator;
  void* managed_tensor_from_py_object;
  void* managed_tensor_to_py_object;
  // Fills a view that lives as long as the object; returns nonzero with a Python error set.
  int (*tensor_from_py_object)(void* py_object, Tensor* out);
  // The stream that the caller's framework works on; returns nonzero with a Python error set.
  int (*current_work_stream)(int32_t device_type, int32_t device_id, void** out);
};

}  // namespace onesearch::dlpack
