// A test framework in one page: TEST registers, CHECK records and goes on, main is in
// check_main.cc.
#pragma once

#include <functional>
#include <sstream>
#include <string>
#include <vector>

namespace onesearch::testing {

struct Test {
  const char* name;
  std::function<void()> body;
};

std::vector<Test>& tests();
void fail(const char* file, int line, const std::string& message);

struct Registration {
  Registration(const char* name, std::function<void()> body) {
    tests().push_back({name, std::move(body)});
  }
};

template <class A, class B>
void check_equal(const A& a, const B& b, const char* text, const char* file, int line) {
  if (a == b) return;
  std::ostringstream message;
  message << text << ": " << a << " against " << b;
  fail(file, line, message.str());
}

template <class Error, class Body>
void check_throws(const Body& body, const std::string& part, const char* file, int line) {
  try {
    body();
  } catch (const Error& error) {
    const std::string text = error.what();
    if (text.find(part) == std::string::npos) fail(file, line, "message: " + text);
    return;
  } catch (const std::exception& error) {
    fail(file, line, std::string("another exception: ") + error.what());
    return;
  }
  fail(file, line, "nothing thrown");
}

}  // namespace onesearch::testing

#define TEST(name)                                                                    \
  static void name();                                                                 \
  static const onesearch::testing::Registration registration_of_##name(#name, &name); \
  static void name()

#define CHECK(condition) \
  if (!(condition)) onesearch::testing::fail(__FILE__, __LINE__, #condition)

#define CHECK_EQUAL(a, b) onesearch::testing::check_equal(a, b, #a " == " #b, __FILE__, __LINE__)

// Error thrown by `expression`, with `part` in its message.
#define CHECK_THROWS(Error, part, expression) \
  onesearch::testing::check_throws<Error>([&] { expression; }, part, __FILE__, __LINE__)
