#include "tensors.h"

#include <optional>
#include <string>
#include <unordered_map>

#include "arrays.h"
#include "core/error.h"
#include "dlpack.h"

namespace py = pybind11;

namespace onesearch::bindings {
namespace {

std::optional<DType> integer_dtype(int bits, bool is_signed) {
  switch (bits) {
    case 8:
      return is_signed ? DType::kInt8 : DType::kUInt8;
    case 16:
      return is_signed ? DType::kInt16 : DType::kUInt16;
    case 32:
      return is_signed ? DType::kInt32 : DType::kUInt32;
    case 64:
      return is_signed ? DType::kInt64 : DType::kUInt64;
    default:
      return std::nullopt;
  }
}

std::optional<DType> dtype_of(const dlpack::DataType& type) {
  if (type.lanes != 1) return std::nullopt;
  switch (type.code) {
    case dlpack::kInt:
      return integer_dtype(type.bits, true);
    case dlpack::kUInt:
      return integer_dtype(type.bits, false);
    case dlpack::kFloat:
      if (type.bits == 16) return DType::kFloat16;
      if (type.bits == 32) return DType::kFloat32;
      if (type.bits == 64) return DType::kFloat64;
      return std::nullopt;
    case dlpack::kBFloat:
      if (type.bits == 16) return DType::kBFloat16;
      return std::nullopt;
    case dlpack::kBool:
      if (type.bits == 8) return DType::kBool;
      return std::nullopt;
    default:
      return std::nullopt;
  }
}

Device device_of(const dlpack::Device& device) {
  if (device.device_type == dlpack::kCpu) return Device::kCpu;
  return device.device_type == dlpack::kCuda ? Device::kCuda : Device::kOther;
}

TensorView view_of(const dlpack::Tensor& tensor, const char* where, const char* argument) {
  const std::optional<DType> dtype = dtype_of(tensor.dtype);
  if (!dtype.has_value()) {
    throw TypeMismatch(complaint(where, argument, "a real dtype of at most 64 bits", "another"));
  }
  if (tensor.ndim > TensorView::kMaxDims) {
    throw InvalidArgument(
        complaint(where, argument, "at most 5 axes", std::to_string(tensor.ndim) + " axes"));
  }
  TensorView view;
  view.dtype = *dtype;
  view.device = device_of(tensor.device);
  view.device_index = tensor.device.device_id;
  view.ndim = tensor.ndim;
  int64_t contiguous_stride = 1;
  for (int axis = tensor.ndim - 1; axis >= 0; --axis) {
    view.shape[axis] = tensor.shape[axis];
    view.strides[axis] = tensor.strides == nullptr ? contiguous_stride : tensor.strides[axis];
    contiguous_stride *= tensor.shape[axis];
  }
  // Tensors without memory, as those of a tracer, come as null.
  if (tensor.data == nullptr && view.numel() > 0) {
    throw InvalidArgument(complaint(where, argument, "a tensor that holds values",
                                    "one without memory, as under torch.compile"));
  }
  view.data = tensor.data == nullptr
                  ? nullptr
                  : static_cast<unsigned char*>(tensor.data) + tensor.byte_offset;
  return view;
}

// The exchange table of a type, or null; looked up once per type, which is then kept alive.
const dlpack::ExchangeApi* exchange_api(PyTypeObject* type) {
  static auto* known = new std::unordered_map<PyTypeObject*, const dlpack::ExchangeApi*>();
  const auto found = known->find(type);
  if (found != known->end()) return found->second;

  const dlpack::ExchangeApi* api = nullptr;
  const py::handle owner(reinterpret_cast<PyObject*>(type));
  const py::object table = py::getattr(owner, "__dlpack_c_exchange_api__", py::none());
  if (py::isinstance<py::capsule>(table)) {
    const auto* header = static_cast<const dlpack::ExchangeApiHeader*>(
        PyCapsule_GetPointer(table.ptr(), "dlpack_exchange_api"));
    if (header == nullptr) throw py::error_already_set();
    while (header != nullptr && header->version.major != 1) header = header->previous;
    api = reinterpret_cast<const dlpack::ExchangeApi*>(header);
  }
  owner.inc_ref();
  known->emplace(type, api);
  return api;
}

// Tensors of devices without memory, sparse ones, and whatever else torch cannot hand over.
[[noreturn]] void refuse_raised(const char* where, const char* argument) {
  const std::string sentence = py::error_already_set().what();
  throw InvalidArgument(complaint(where, argument, "a dense tensor in memory",
                                  sentence.substr(0, sentence.find('\n'))));
}

py::object export_capsule(py::handle object) {
  try {
    return object.attr("__dlpack__")(py::arg("max_version") = py::make_tuple(1, 0));
  } catch (py::error_already_set& error) {
    // Producers older than DLPack 1.0 do not know the argument.
    if (!error.matches(PyExc_TypeError)) throw;
    return object.attr("__dlpack__")();
  }
}

BorrowedTensor from_capsule(py::handle object, const char* where, const char* argument) {
  // The capsule is not renamed, so it still owns the tensor and releases it when we let go of it.
  py::object capsule = export_capsule(object);
  if (PyCapsule_IsValid(capsule.ptr(), "dltensor_versioned")) {
    const auto* managed = static_cast<const dlpack::ManagedTensorVersioned*>(
        PyCapsule_GetPointer(capsule.ptr(), "dltensor_versioned"));
    TensorView view = view_of(managed->tensor, where, argument);
    view.read_only = (managed->flags & dlpack::kReadOnly) != 0;
    return {view, std::move(capsule)};
  }
  const auto* managed =
      static_cast<const dlpack::ManagedTensor*>(PyCapsule_GetPointer(capsule.ptr(), "dltensor"));
  if (managed == nullptr) throw py::error_already_set();
  return {view_of(managed->tensor, where, argument), std::move(capsule)};
}

}  // namespace

BorrowedTensor borrow_tensor(py::handle object, const char* where, const char* argument) {
  if (const dlpack::ExchangeApi* api = exchange_api(Py_TYPE(object.ptr()))) {
    dlpack::Tensor tensor;
    if (api->tensor_from_py_object(object.ptr(), &tensor) != 0) refuse_raised(where, argument);
    return {view_of(tensor, where, argument), py::none()};
  }
  if (py::isinstance<py::array>(object)) {
    return {view_of_array(py::reinterpret_borrow<py::array>(object), where, argument), py::none()};
  }
  if (py::hasattr(object, "__dlpack__")) return from_capsule(object, where, argument);
  throw TypeMismatch(complaint(where, argument, "a tensor (torch, numpy, or with __dlpack__)",
                               py::str(py::type::of(object)).cast<std::string>()));
}

namespace {

// Of a torch tensor; false for what has no such attribute.
bool is_true(py::handle object, PyObject* name, bool is_method) {
  const auto value =
      py::reinterpret_steal<py::object>(is_method ? PyObject_CallMethodNoArgs(object.ptr(), name)
                                                  : PyObject_GetAttr(object.ptr(), name));
  if (!value) PyErr_Clear();
  return value.ptr() == Py_True;
}

}  // namespace

BorrowedTensor borrow_values(py::handle object, const char* where, const char* argument) {
  static PyObject* const is_neg = PyUnicode_InternFromString("is_neg");
  static PyObject* const requires_grad = PyUnicode_InternFromString("requires_grad");
  BorrowedTensor borrowed = borrow_tensor(object, where, argument);
  // Integers have neither, numpy's arrays come with a keeper or without either.
  const bool floats = borrowed.view.dtype == DType::kFloat32 ||
                      borrowed.view.dtype == DType::kBFloat16 ||
                      borrowed.view.dtype == DType::kFloat16;
  if (!floats || py::isinstance<py::array>(object)) return borrowed;
  if (is_true(object, is_neg, true)) {
    throw InvalidArgument(complaint(where, argument, "a tensor as it lies in memory",
                                    "a negated view",
                                    "pass " + std::string(argument) + ".resolve_neg()"));
  }
  if (is_true(object, requires_grad, false)) {
    throw InvalidArgument(complaint(where, argument, "a tensor that does not require grad",
                                    "one that does",
                                    "pass " + std::string(argument) + ".detach()"));
  }
  return borrowed;
}

void* current_stream(py::handle object, const TensorView& view) {
  if (view.device != Device::kCuda) return nullptr;
  if (const dlpack::ExchangeApi* api = exchange_api(Py_TYPE(object.ptr()))) {
    void* stream = nullptr;
    if (api->current_work_stream(dlpack::kCuda, view.device_index, &stream) == 0) return stream;
    throw py::error_already_set();
  }
  // A torch without the table.
  const py::object of_device = py::module_::import("torch.cuda").attr("current_stream");
  return reinterpret_cast<void*>(
      of_device(view.device_index).attr("cuda_stream").cast<uintptr_t>());
}

}  // namespace onesearch::bindings
