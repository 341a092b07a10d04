// The tiers of hand-vectorised code, and the choice among them, made once.
//
// A file <name>_simd.cc is compiled once per tier, into namespace onesearch::ONESEARCH_TIER, and
// exports one constant table of functions; <name>.h declares the table of every tier and picks one:
//
//     struct RowKernels { float (*sum)(const float* row, int64_t n); };
//     ONESEARCH_TIER_TABLE(RowKernels, row_kernels)     // in <name>.h: row_kernels() -> const
//     RowKernels&
//
//     namespace onesearch::ONESEARCH_TIER {              // in <name>_simd.cc
//     extern const RowKernels row_kernels{&sum};
//     }
//
// Such a file includes nothing but cpu/simd.h, core/ headers and intrinsics: an inline function of
// the standard library would be emitted with the tier's instructions, and the linker might keep
// that copy for everyone. No vector type crosses a table.
#pragma once

#include <string>

namespace onesearch {

enum class IsaTier : int {
  kPortable = 0,  // any processor
  kAvx2 = 1,      // AVX2, FMA, F16C, BMI2
  kAvx512 = 2,    // AVX-512 F, BW, DQ, VL, CD
};

// The best tier of this processor, or the one ONESEARCH_CPU_ISA names (portable, avx2, avx512);
// throws Unavailable when this processor cannot run it.
IsaTier isa_tier();

const char* isa_tier_name(IsaTier tier);

// For tests: what follows uses `tier`, which this processor must have. Not while an operator runs.
void set_isa_tier(IsaTier tier);

// The tiers this processor can run, lowest first, as "portable avx2 avx512".
std::string usable_isa_tiers();

#if defined(__x86_64__)
#define ONESEARCH_TIER_TABLE(Table, name)                        \
  namespace portable {                                           \
  extern const Table name;                                       \
  }                                                              \
  namespace avx2 {                                               \
  extern const Table name;                                       \
  }                                                              \
  namespace avx512 {                                             \
  extern const Table name;                                       \
  }                                                              \
  inline const Table& name() {                                   \
    const IsaTier tier = isa_tier();                             \
    if (tier == IsaTier::kAvx512) return avx512::name;           \
    return tier == IsaTier::kAvx2 ? avx2::name : portable::name; \
  }
#else
#define ONESEARCH_TIER_TABLE(Table, name) \
  namespace portable {                    \
  extern const Table name;                \
  }                                       \
  inline const Table& name() { return portable::name; }
#endif

}  // namespace onesearch
