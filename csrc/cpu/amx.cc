#include "cpu/amx.h"

#include <cstdlib>
#include <string>

#include "cpu/cpuid.h"

#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace onesearch {
namespace {

bool switched_off() {
  const char* choice = std::getenv("ONESEARCH_CPU_AMX");
  return choice != nullptr && std::string(choice) == "0";
}

#if defined(ONESEARCH_AMX_EMULATED)
bool supported() { return true; }
#elif defined(__x86_64__) && defined(__linux__)
// Linux saves 8 KiB of tiles only for processes that ask for it.
bool granted() {
  constexpr int kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr int kTileData = 18;               // XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

bool supported() { return cpu_has({"amx_tile", "amx_bf16"}) && granted(); }
#else
bool supported() { return false; }
#endif

}  // namespace

bool amx_bf16_usable() {
  static const bool usable = !switched_off() && supported();
  return usable;
}

}  // namespace onesearch
