#include <cerrno>
#include <exception>
#include <stdexcept>
#include <string>

#include "bindings.h"
#include "core/error.h"

namespace py = pybind11;

namespace onesearch::bindings {
namespace {

// Sentences may name files, and names of files are any bytes.
py::object text_of(const std::string& bytes) {
  return py::reinterpret_steal<py::object>(
      PyUnicode_DecodeFSDefaultAndSize(bytes.data(), static_cast<Py_ssize_t>(bytes.size())));
}

void raise_named(const std::runtime_error& error, const char* name) {
  const py::object kind = py::module_::import("onesearch_fast.errors").attr(name);
  const py::object sentence = text_of(error.what());
  if (sentence) PyErr_SetObject(kind.ptr(), sentence.ptr());
}

void raise_os_error(const IoError& error) {
  const py::object path = text_of(error.path());
  if (!path) return;
  errno = error.code();
  PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, path.ptr());
}

void register_errors() {
  // Local, because with two statically linked C++ run times in one process typeinfo is not shared.
  py::register_local_exception_translator([](std::exception_ptr pointer) {
    try {
      if (pointer) std::rethrow_exception(pointer);
    } catch (const InvalidArgument& error) {
      PyErr_SetString(PyExc_ValueError, error.what());
    } catch (const TypeMismatch& error) {
      PyErr_SetString(PyExc_TypeError, error.what());
    } catch (const ColumnsFormatError& error) {
      raise_named(error, "FormatError");
    } catch (const StoreFormatError& error) {
      raise_named(error, "LiveStoreFormatError");
    } catch (const FormatError& error) {
      raise_named(error, "TrieFormatError");
    } catch (const CudaError& error) {
      raise_named(error, "CudaError");
    } catch (const IoError& error) {
      raise_os_error(error);
    }
  });
}

}  // namespace
}  // namespace onesearch::bindings

PYBIND11_MODULE(_C, module) {
  module.doc() = "Native core of onesearch_fast; the public names live in the Python modules.";
  onesearch::bindings::register_errors();
  onesearch::bindings::Registration::bind_all(module);
}
