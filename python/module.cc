#include "bindings.h"

PYBIND11_MODULE(_C, module) {
  module.doc() = "Native core of onesearch_fast; the public names live in the Python modules.";
  onesearch::bindings::register_errors(module);
  onesearch::bindings::register_index(module);
  onesearch::bindings::register_ops(module);
  onesearch::bindings::register_runtime(module);
}
