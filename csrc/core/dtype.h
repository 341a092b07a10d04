// Element types that cross the boundary, and the conversion of half-width floats to float32.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/portable.h"

namespace onesearch {

enum class DType : uint8_t {
  kInt8,
  kInt16,
  kInt32,
  kInt64,
  kUInt8,
  kUInt16,
  kUInt32,
  kUInt64,
  kFloat16,
  kBFloat16,
  kFloat32,
  kFloat64,
  kBool,
};

inline int dtype_bytes(DType dtype) {
  switch (dtype) {
    case DType::kInt8:
    case DType::kUInt8:
    case DType::kBool:
      return 1;
    case DType::kInt16:
    case DType::kUInt16:
    case DType::kFloat16:
    case DType::kBFloat16:
      return 2;
    case DType::kInt32:
    case DType::kUInt32:
    case DType::kFloat32:
      return 4;
    case DType::kInt64:
    case DType::kUInt64:
    case DType::kFloat64:
      return 8;
  }
  return 0;
}

inline const char* dtype_name(DType dtype) {
  switch (dtype) {
    case DType::kInt8:
      return "int8";
    case DType::kInt16:
      return "int16";
    case DType::kInt32:
      return "int32";
    case DType::kInt64:
      return "int64";
    case DType::kUInt8:
      return "uint8";
    case DType::kUInt16:
      return "uint16";
    case DType::kUInt32:
      return "uint32";
    case DType::kUInt64:
      return "uint64";
    case DType::kFloat16:
      return "float16";
    case DType::kBFloat16:
      return "bfloat16";
    case DType::kFloat32:
      return "float32";
    case DType::kFloat64:
      return "float64";
    case DType::kBool:
      return "bool";
  }
  return "unknown";
}

ONESEARCH_HD float float_from_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

ONESEARCH_HD uint32_t bits_from_float(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

// Storage-only types: the arithmetic is always float32.
struct BFloat16 {
  uint16_t bits;
};

struct Float16 {
  uint16_t bits;
};

ONESEARCH_HD float to_float(float value) { return value; }

ONESEARCH_HD float to_float(BFloat16 value) {
  return float_from_bits(static_cast<uint32_t>(value.bits) << 16);
}

// Exact for every input. No float here is subnormal: it would be lost on threads that flush those
// to zero (torch.set_flush_denormal), and kept on others.
ONESEARCH_HD float to_float(Float16 value) {
  const uint32_t sign = static_cast<uint32_t>(value.bits & 0x8000u) << 16;
  const uint32_t magnitude = value.bits & 0x7fffu;
  // 0.5 + magnitude * 2^-24, as the lowest bit of 0.5 is worth 2^-24.
  const float above_half = float_from_bits(0x3f000000u | magnitude);
  const uint32_t subnormal = bits_from_float(above_half - 0.5f);
  const uint32_t normal = (magnitude << 13) + (112u << 23);
  const uint32_t finite = magnitude < 0x400u ? subnormal : normal;
  const uint32_t special = magnitude << 13 | 0x7f800000u;
  return float_from_bits(sign | (magnitude < 0x7c00u ? finite : special));
}

}  // namespace onesearch
