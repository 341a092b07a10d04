// What this processor can do and the operating system lets us use.
#pragma once

#include <string>
#include <vector>

namespace onesearch {

// "x86_64", "aarch64", ...
std::string cpu_architecture();

// Usable instruction set extensions, oldest first; empty on processors this file does not know.
std::vector<std::string> cpu_features();

}  // namespace onesearch
