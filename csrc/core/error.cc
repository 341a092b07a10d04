#include "core/error.h"

#include <cstring>

namespace onesearch {

IoError::IoError(int code, const std::string& path)
    : std::runtime_error(path + ": " + std::strerror(code)), code_(code), path_(path) {}

std::string complaint(const std::string& where, const std::string& argument,
                      const std::string& expected, const std::string& got,
                      const std::string& remedy) {
  std::string sentence = where + ": " + argument + ": expected " + expected + ", got " + got;
  if (!remedy.empty()) sentence += "; " + remedy;
  return sentence;
}

}  // namespace onesearch
