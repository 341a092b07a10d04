// The entry that libFuzzer calls; FUZZ_TARGET is the name of one of the functions it may lead to.
#include "fuzz_targets.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  onesearch::testing::FUZZ_TARGET(bytes, size);
  return 0;
}
