#include "cpu/attention_kernel.h"

namespace onesearch::ONESEARCH_TIER {

extern const FloatKernels<AttendTile> attention_kernels{&attend<Float32Product<float>>,
                                                        &attend<Float32Product<BFloat16>>,
                                                        &attend<Float32Product<Float16>>};

}  // namespace onesearch::ONESEARCH_TIER
