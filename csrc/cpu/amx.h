// Whether the tiles of AMX may be used.
#pragma once

namespace onesearch {

// The processor multiplies tiles of bfloat16, the operating system grants this process their state
// (asked for once), and ONESEARCH_CPU_AMX is not 0.
bool amx_bf16_usable();

}  // namespace onesearch
