#include <cerrno>
#include <exception>

#include "bindings.h"
#include "core/error.h"

namespace py = pybind11;

namespace onesearch::bindings {
namespace {

void raise_format_error(const FormatError& error) {
  const py::object kind = py::module_::import("onesearch_fast.errors").attr("TrieFormatError");
  PyErr_SetString(kind.ptr(), error.what());
}

void raise_os_error(const IoError& error) {
  errno = error.code();
  const py::str path(error.path());
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
    } catch (const FormatError& error) {
      raise_format_error(error);
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
  onesearch::bindings::register_index(module);
  onesearch::bindings::register_ops(module);
  onesearch::bindings::register_runtime(module);
}
