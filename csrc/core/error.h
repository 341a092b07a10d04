// Exceptions of the native core. The binding layer maps them to ValueError, TypeError,
// TrieFormatError, FormatError, LiveStoreFormatError, CudaError and OSError.
#pragma once

#include <stdexcept>
#include <string>

namespace onesearch {

class InvalidArgument : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

class TypeMismatch : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

class FormatError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class ColumnsFormatError : public FormatError {
 public:
  using FormatError::FormatError;
};

class StoreFormatError : public FormatError {
 public:
  using FormatError::FormatError;
};

// A CUDA call failed; the device may need a new process.
class CudaError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class IoError : public std::runtime_error {
 public:
  IoError(int code, const std::string& path);
  int code() const { return code_; }
  const std::string& path() const { return path_; }

 private:
  int code_;
  std::string path_;
};

// `<where>: <argument>: expected <contract>, got <value>; <remedy>`
std::string complaint(const std::string& where, const std::string& argument,
                      const std::string& expected, const std::string& got,
                      const std::string& remedy = "");

}  // namespace onesearch
