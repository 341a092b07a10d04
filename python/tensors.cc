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

// How tensors of a type are read.
struct TensorType {
  const dlpack::ExchangeApi* exchange;  // null where there is none
  const PyGetSetDef* requires_grad;     // the attribute, where it is one of C
};

const dlpack::ExchangeApi* find_exchange(py::handle type) {
  const py::object table = py::getattr(type, "__dlpack_c_exchange_api__", py::none());
  if (!py::isinstance<py::capsule>(table)) return nullptr;
  const auto* header = static_cast<const dlpack::ExchangeApiHeader*>(
      PyCapsule_GetPointer(table.ptr(), "dlpack_exchange_api"));
  if (header == nullptr) throw py::error_already_set();
  while (header != nullptr && header->version.major != 1) header = header->previous;
  return reinterpret_cast<const dlpack::ExchangeApi*>(header);
}

const PyGetSetDef* find_requires_grad(py::handle type) {
  const py::object attribute = py::getattr(type, "requires_grad", py::none());
  if (Py_TYPE(attribute.ptr()) != &PyGetSetDescr_Type) return nullptr;
  return reinterpret_cast<PyGetSetDescrObject*>(attribute.ptr())->d_getset;
}

// Looked up once per type, which is then kept alive.
const TensorType& tensor_type(py::handle object) {
  static auto* known = new std::unordered_map<PyTypeObject*, TensorType>();
  PyTypeObject* const type = Py_TYPE(object.ptr());
  const auto found = known->find(type);
  if (found != known->end()) return found->second;
  const auto owner = py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(type));
  const TensorType read{find_exchange(owner), find_requires_grad(owner)};
  owner.inc_ref();
  return known->emplace(type, read).first->second;
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

BorrowedTensor borrow_memory(py::handle object, const TensorType& type, const char* where,
                             const char* argument) {
  if (type.exchange != nullptr) {
    dlpack::Tensor tensor;
    if (type.exchange->tensor_from_py_object(object.ptr(), &tensor) != 0)
      refuse_raised(where, argument);
    return {view_of(tensor, where, argument), py::none()};
  }
  if (py::isinstance<py::array>(object)) {
    return {view_of_array(py::reinterpret_borrow<py::array>(object), where, argument), py::none()};
  }
  if (py::hasattr(object, "__dlpack__")) return from_capsule(object, where, argument);
  throw TypeMismatch(complaint(where, argument, "a tensor (torch, numpy, or with __dlpack__)",
                               py::str(py::type::of(object)).cast<std::string>()));
}

// Negated views are of imaginary parts, whose elements stand two apart: an odd stride tells,
// without the 70 ns of asking torch, that a tensor is none.
bool may_be_negated(const TensorView& view) {
  for (int axis = 0; axis < view.ndim; ++axis) {
    if (view.strides[axis] % 2 != 0) return false;
  }
  return true;
}

// Of a torch tensor; false for what has no such attribute.
bool is_true(py::object value) {
  if (!value) PyErr_Clear();
  return value.ptr() == Py_True;
}

bool is_negated(py::handle object) {
  static PyObject* const name = PyUnicode_InternFromString("is_neg");
  return is_true(py::reinterpret_steal<py::object>(PyObject_CallMethodNoArgs(object.ptr(), name)));
}

// Without the search for the attribute, half of what reading it takes.
py::object requires_grad(py::handle object, const TensorType& type) {
  static PyObject* const name = PyUnicode_InternFromString("requires_grad");
  const PyGetSetDef* known = type.requires_grad;
  return py::reinterpret_steal<py::object>(known != nullptr
                                               ? known->get(object.ptr(), known->closure)
                                               : PyObject_GetAttr(object.ptr(), name));
}

bool loses_gradient(py::handle object, const TensorType& type) {
  return is_true(requires_grad(object, type)) &&
         py::module_::import("torch").attr("is_grad_enabled")().cast<bool>();
}

bool is_float(DType dtype) {
  return dtype == DType::kFloat32 || dtype == DType::kBFloat16 || dtype == DType::kFloat16 ||
         dtype == DType::kFloat64;
}

}  // namespace

BorrowedTensor borrow_tensor(py::handle object, const char* where, const char* argument) {
  const TensorType& type = tensor_type(object);
  BorrowedTensor borrowed = borrow_memory(object, type, where, argument);
  if (!is_float(borrowed.view.dtype)) return borrowed;
  if (type.exchange == nullptr && py::isinstance<py::array>(object)) return borrowed;
  if (may_be_negated(borrowed.view) && is_negated(object)) {
    throw InvalidArgument(complaint(where, argument, "a tensor as it lies in memory",
                                    "a negated view",
                                    "pass " + std::string(argument) + ".resolve_neg()"));
  }
  if (loses_gradient(object, type)) {
    throw InvalidArgument(
        complaint(where, argument, "a tensor that does not require grad", "one that does",
                  "pass " + std::string(argument) + ".detach(), or call it under torch.no_grad()"));
  }
  return borrowed;
}

std::optional<BorrowedTensor> borrow_optional(py::handle object, const char* where,
                                              const char* argument) {
  if (object.is_none()) return std::nullopt;
  return borrow_tensor(object, where, argument);
}

void* current_stream(py::handle object, const TensorView& view) {
  if (view.device != Device::kCuda) return nullptr;
  if (const dlpack::ExchangeApi* api = tensor_type(object).exchange) {
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
