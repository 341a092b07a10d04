// What constrained_beam_step refuses, whichever backend computes it: InvalidArgument or
// TypeMismatch. Of values only those of beam_widths are read, and only on the CPU.
#pragma once

#include "ops/constrained_beam_step/constrained_beam_step.h"

namespace onesearch {

void check_constrained_beam_step(const BeamStepInput& input);

// A result in itself.
void check_beam_step_output(const BeamStepOutput& output);

void check_constrained_beam_step(const BeamStepInput& input, const BeamStepOutput& output);

}  // namespace onesearch
