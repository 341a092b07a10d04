// From the scores of a beam's candidates to the keys that decide about survival, by the options.
#pragma once

#include <vector>

#include "ops/constrained_beam_step/constrained_beam_step.h"

namespace onesearch {

struct Sibling {
  float score;
  float weight;  // the score, until the rules have spoken
  uint32_t token;
  uint32_t node;
};

class SiblingRules {
 public:
  SiblingRules(const BeamStepOptions& options, int64_t request)
      : options_(options), request_(request) {}

  // Whether no weight exceeds its score, so that a low score says enough.
  bool bounded_by_score() const {
    return options_.node_prior == nullptr && options_.gumbel == nullptr;
  }

  // Whether a beam can have candidates under these rules.
  bool is_alive(int64_t beam) const;

  // siblings: the candidates of a beam by ascending token, all of them, or without priors and noise
  // those that may matter. Sets their weights, puts those that may take part first, and returns how
  // many these are.
  size_t apply(int64_t beam, std::vector<Sibling>* siblings) const;

 private:
  void add_prior(std::vector<Sibling>* siblings) const;
  void penalize(std::vector<Sibling>* siblings) const;
  void perturb(int64_t beam, std::vector<Sibling>* siblings) const;
  size_t limit(std::vector<Sibling>* siblings) const;

  const BeamStepOptions& options_;
  int64_t request_;
};

}  // namespace onesearch
