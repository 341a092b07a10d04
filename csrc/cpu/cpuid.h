// What this processor can do and the operating system lets us use.
#pragma once

#include <initializer_list>
#include <string>
#include <vector>

namespace onesearch {

// "x86_64", "aarch64", ...
std::string cpu_architecture();

// Usable instruction set extensions, oldest first; empty on processors this file does not know.
std::vector<std::string> cpu_features();

// Whether all of these are among them.
bool cpu_has(std::initializer_list<const char*> features);

}  // namespace onesearch
