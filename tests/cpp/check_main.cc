#include <cstdio>
#include <exception>

#include "check.h"

namespace onesearch::testing {
namespace {

int failures = 0;

void run(const Test& test) {
  const int before = failures;
  try {
    test.body();
  } catch (const std::exception& error) {
    fail(test.name, 0, std::string("uncaught: ") + error.what());
  }
  std::printf("%s %s\n", failures == before ? "ok  " : "FAIL", test.name);
}

}  // namespace

std::vector<Test>& tests() {
  static std::vector<Test> all;
  return all;
}

void fail(const char* file, int line, const std::string& message) {
  ++failures;
  std::printf("%s:%d: %s\n", file, line, message.c_str());
}

}  // namespace onesearch::testing

int main() {
  for (const auto& test : onesearch::testing::tests()) onesearch::testing::run(test);
  return onesearch::testing::failures == 0 ? 0 : 1;
}
