#include "cpu/openmp.h"

#include <dlfcn.h>

namespace onesearch {
namespace {

template <class Function>
void find(const char* name, Function** function) {
  *function = reinterpret_cast<Function*>(dlsym(RTLD_DEFAULT, name));
}

}  // namespace

OpenMp loaded_openmp() {
  OpenMp openmp;
  find("GOMP_parallel", &openmp.parallel);
  find("omp_get_max_threads", &openmp.max_threads);
  return openmp;
}

}  // namespace onesearch
