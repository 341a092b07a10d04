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

// Calls `body` with a zero of the type; false, and no call, for a dtype that is no integer.
template <class Body>
bool visit_integer(DType dtype, const Body& body) {
  switch (dtype) {
    case DType::kInt8:
      return body(int8_t{}), true;
    case DType::kInt16:
      return body(int16_t{}), true;
    case DType::kInt32:
      return body(int32_t{}), true;
    case DType::kInt64:
      return body(int64_t{}), true;
    case DType::kUInt8:
      return body(uint8_t{}), true;
    case DType::kUInt16:
      return body(uint16_t{}), true;
    case DType::kUInt32:
      return body(uint32_t{}), true;
    case DType::kUInt64:
      return body(uint64_t{}), true;
    default:
      return false;
  }
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

// The other way: to nearest, ties to even; NaN stays NaN.
ONESEARCH_HD void from_float(float value, float* to) { *to = value; }

ONESEARCH_HD void from_float(float value, BFloat16* to) {
  const uint32_t bits = bits_from_float(value);
  const uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
  const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
  to->bits = static_cast<uint16_t>(nan ? bits >> 16 | 0x40u : rounded);
}

ONESEARCH_HD void from_float(float value, Float16* to) {
  const uint32_t bits = bits_from_float(value);
  const uint32_t magnitude = bits & 0x7fffffffu;
  uint32_t half;
  if (magnitude > 0x7f800000u) {
    half = 0x7e00u | (magnitude >> 13 & 0x3ffu);
  } else if (magnitude >= 0x47800000u) {  // 2^16
    half = 0x7c00u;
  } else if (magnitude < 0x38800000u) {  // 2^-14: adding 0.5 rounds to multiples of 2^-24
    half = bits_from_float(float_from_bits(magnitude) + 0.5f) - 0x3f000000u;
  } else {
    half = (magnitude - (112u << 23) + 0xfffu + (magnitude >> 13 & 1u)) >> 13;
  }
  to->bits = static_cast<uint16_t>((bits >> 16 & 0x8000u) | half);
}

}  // namespace onesearch
