#include "ops/constrained_beam_step/sibling_rules.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/hash.h"

namespace onesearch {
namespace {

// By descending value, ties by ascending token.
template <float Sibling::* Value>
bool precedes(const Sibling& a, const Sibling& b) {
  if (a.*Value != b.*Value) return a.*Value > b.*Value;
  return a.token < b.token;
}

// -log(-log(u)) for u uniform in (0, 1), drawn by the hash.
double gumbel_of(uint64_t hash) {
  const double uniform = (static_cast<double>(hash >> 11) + 0.5) * 0x1p-53;
  return -std::log(-std::log(uniform));
}

// The noisy weight of a candidate given that the greatest of its siblings' is `parent`: Kool et al.
// 2019, appendix B.3, in the form that neither overflows nor cancels.
double condition(double noisy, double greatest, double parent) {
  const double v = parent - noisy + std::log1p(-std::exp(noisy - greatest));
  return parent - std::max(0.0, v) - std::log1p(std::exp(-std::abs(v)));
}

}  // namespace

bool SiblingRules::is_alive(int64_t beam) const {
  if (options_.gumbel == nullptr) return true;
  return std::isfinite(*options_.gumbel->perturbed.at<const float>(request_, beam));
}

size_t SiblingRules::apply(int64_t beam, std::vector<Sibling>* siblings) const {
  if (options_.node_prior != nullptr) add_prior(siblings);
  if (options_.sibling_penalty > 0.0f) penalize(siblings);
  const auto dead = std::remove_if(siblings->begin(), siblings->end(), [](const Sibling& sibling) {
    return !std::isfinite(sibling.weight);
  });
  siblings->erase(dead, siblings->end());
  if (options_.gumbel != nullptr) perturb(beam, siblings);
  return limit(siblings);
}

void SiblingRules::add_prior(std::vector<Sibling>* siblings) const {
  for (Sibling& sibling : *siblings) {
    sibling.weight += *options_.node_prior->at<const float>(sibling.node);
  }
}

void SiblingRules::penalize(std::vector<Sibling>* siblings) const {
  std::sort(siblings->begin(), siblings->end(), &precedes<&Sibling::score>);
  float rank = 0.0f;
  for (Sibling& sibling : *siblings) {
    sibling.weight -= options_.sibling_penalty * rank;
    rank += 1.0f;
  }
}

void SiblingRules::perturb(int64_t beam, std::vector<Sibling>* siblings) const {
  const GumbelNoise& gumbel = *options_.gumbel;
  uint64_t path = mix(static_cast<uint64_t>(*gumbel.seed.at<const int64_t>(request_)));
  for (int64_t level = 0; level < gumbel.path.shape[2]; ++level) {
    path = extend_path(
        path, static_cast<uint32_t>(*gumbel.path.at<const int32_t>(request_, beam, level)));
  }
  static thread_local std::vector<double> noisy;
  noisy.clear();
  double greatest = -std::numeric_limits<double>::infinity();
  for (const Sibling& sibling : *siblings) {
    noisy.push_back(sibling.weight + gumbel_of(extend_path(path, sibling.token)));
    greatest = std::max(greatest, noisy.back());
  }
  const double parent = *gumbel.perturbed.at<const float>(request_, beam);
  for (size_t i = 0; i < noisy.size(); ++i) {
    (*siblings)[i].weight = static_cast<float>(condition(noisy[i], greatest, parent));
  }
}

size_t SiblingRules::limit(std::vector<Sibling>* siblings) const {
  const auto most = static_cast<size_t>(options_.max_children_per_parent);
  if (most == 0 || siblings->size() <= most) return siblings->size();
  const auto last = siblings->begin() + static_cast<std::ptrdiff_t>(most);
  std::nth_element(siblings->begin(), last - 1, siblings->end(), &precedes<&Sibling::weight>);
  return most;
}

}  // namespace onesearch
