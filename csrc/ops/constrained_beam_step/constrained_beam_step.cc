#include "ops/constrained_beam_step/constrained_beam_step.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "core/error.h"
#include "core/ranking.h"
#include "cpu/log_sum_exp.h"
#include "cpu/thread_pool.h"

namespace onesearch {
namespace {

constexpr char kWhere[] = "constrained_beam_step";
constexpr float kInfinity = std::numeric_limits<float>::infinity();
// A checked build is for finding the model that computes NaN, so it refuses what is else a dead
// beam.
#if defined(ONESEARCH_CHECKED)
constexpr bool kChecked = true;
#else
constexpr bool kChecked = false;
#endif
// Elements of logits that make a task worth handing to another thread.
constexpr int64_t kElementsPerTask = 16384;

void require(bool sound, const char* argument, const std::string& expected,
             const std::string& got) {
  if (!sound) throw InvalidArgument(complaint(kWhere, argument, expected, got));
}

void check_tensor(const TensorView& tensor, const char* argument, DType dtype,
                  std::initializer_list<int64_t> shape) {
  if (tensor.dtype != dtype) {
    throw TypeMismatch(complaint(kWhere, argument, dtype_name(dtype), dtype_name(tensor.dtype)));
  }
  TensorView expected;
  for (const int64_t size : shape) expected.shape[expected.ndim++] = size;
  require(tensor.ndim == expected.ndim && tensor.shape == expected.shape, argument,
          "shape " + shape_text(expected), shape_text(tensor));
  require(tensor.device == Device::kCpu, argument, "a CPU tensor", "one on another device");
}

void check_output(const TensorView& tensor, const char* argument, DType dtype,
                  std::initializer_list<int64_t> shape) {
  check_tensor(tensor, argument, dtype, shape);
  require(!tensor.read_only, argument, "writable memory", "read-only memory");
}

void check_search(const BeamStepInput& input) {
  require(input.num_beams >= 1 && input.num_beams <= kMaxParents, "num_beams", "1 to 65536",
          std::to_string(input.num_beams));
  require(input.level >= 0 && input.level < input.trie.num_levels, "level",
          "0 to " + std::to_string(input.trie.num_levels - 1), std::to_string(input.level));
  const auto normalizer = static_cast<int>(input.normalizer);
  require(normalizer >= 0 && normalizer <= 3, "normalizer", "0 to 3", std::to_string(normalizer));
  require((input.normalizer == Normalizer::kVocab) == (input.log_normalizer != nullptr),
          "log_normalizer", "a tensor with the vocab normaliser, and only then",
          input.log_normalizer == nullptr ? "none" : "one");
}

void check_logits(const BeamStepInput& input) {
  const TensorView& logits = input.logits;
  const bool floats = logits.dtype == DType::kFloat32 || logits.dtype == DType::kBFloat16 ||
                      logits.dtype == DType::kFloat16;
  if (!floats) {
    throw TypeMismatch(
        complaint(kWhere, "logits", "float32, bfloat16 or float16", dtype_name(logits.dtype)));
  }
  const int64_t size = input.trie.level_sizes[input.level];
  require(logits.ndim == 3 && logits.shape[2] == size, "logits",
          "shape [batch, beam_in, " + std::to_string(size) + "]", shape_text(logits));
  const int64_t beams = logits.shape[1];
  require(beams >= 1 && beams <= kMaxParents, "logits", "1 to 65536 beams", std::to_string(beams));
  require(input.level > 0 || beams == 1, "logits", "one beam at level 0", std::to_string(beams));
  require(logits.device == Device::kCpu, "logits", "a CPU tensor", "one on another device");
}

void check(const BeamStepInput& input, const BeamStepOutput& output) {
  check_search(input);
  check_logits(input);
  const int64_t batch = input.logits.shape[0];
  const int64_t beams = input.logits.shape[1];
  check_tensor(input.node, "node", DType::kInt32, {batch, beams});
  check_tensor(input.beam_scores, "beam_scores", DType::kFloat32, {batch, beams});
  if (input.log_normalizer != nullptr) {
    check_tensor(*input.log_normalizer, "log_normalizer", DType::kFloat32, {batch, beams});
  }
  const auto filters = static_cast<int64_t>(input.filters.size());
  require(filters <= 1 || filters == batch, "filter", "none, one, or one a request",
          std::to_string(filters));
  check_output(output.scores, "scores", DType::kFloat32, {batch, input.num_beams});
  check_output(output.parent_beam, "parent_beam", DType::kInt32, {batch, input.num_beams});
  check_output(output.tokens, "tokens", DType::kInt32, {batch, input.num_beams});
  check_output(output.node, "node", DType::kInt32, {batch, input.num_beams});
  check_output(output.count, "count", DType::kInt32, {batch});
}

// A beam as selection needs it: its score and normaliser, its children, and a bound on what any of
// them can score.
struct Parent {
  float score = 0.0f;
  float normalizer = 0.0f;
  float bound = 0.0f;
  NodeRange children;  // empty for a dead beam
};

struct Candidate {
  uint64_t key;
  uint32_t node;
};

bool better(const Candidate& a, const Candidate& b) { return a.key > b.key; }

float candidate_score(const Parent& parent, float logit) {
  return parent.score + (logit - parent.normalizer);
}

// The best num_beams candidates offered so far, with a running threshold: an unordered buffer of
// twice that size, halved by selection when it is full. A candidate costs O(1), whatever num_beams
// is.
class BestCandidates {
 public:
  void reset(int64_t num_beams) {
    num_beams_ = static_cast<size_t>(num_beams);
    capacity_ = std::max<size_t>(2 * num_beams_, 256);
    threshold_ = 0;
    kept_.clear();
  }

  // Whether a candidate of this key can still be among the best.
  bool admits(uint64_t key) const { return key > threshold_; }

  void add(const Candidate& candidate) {
    kept_.push_back(candidate);
    if (kept_.size() >= capacity_) cut();
  }

  // Best first.
  const std::vector<Candidate>& sorted() {
    if (kept_.size() > num_beams_) cut();
    std::sort(kept_.begin(), kept_.end(), better);
    return kept_;
  }

 private:
  void cut() {
    const auto last = kept_.begin() + static_cast<std::ptrdiff_t>(num_beams_ - 1);
    std::nth_element(kept_.begin(), last, kept_.end(), better);
    threshold_ = last->key;
    kept_.resize(num_beams_);
  }

  size_t num_beams_ = 0;
  size_t capacity_ = 0;
  uint64_t threshold_ = 0;
  std::vector<Candidate> kept_;
};

// log-sum-exp over the children's logits, before filters.
template <class T>
float children_normalizer(const SidTrieView& trie, int level, NodeRange children, const T* row,
                          int64_t stride) {
  static thread_local std::vector<float> logits;
  logits.clear();
  for (uint32_t edge = children.begin; edge < children.end; ++edge) {
    const uint32_t token = trie.token(level, edge);
    if (token < trie.level_sizes[level]) logits.push_back(to_float(row[token * stride]));
  }
  const auto n = static_cast<int64_t>(logits.size());
  const float maximum = row_maximum(logits.data(), n).value;
  if (maximum == -kInfinity) return maximum;
  return maximum + std::log(sum_of_exp(logits.data(), n, maximum));
}

// `row` when it is contiguous, else a contiguous copy that lives until the next call on this
// thread.
template <class T>
const T* contiguous(const T* row, int64_t n, int64_t stride) {
  if (stride == 1) return row;
  static thread_local std::vector<T> copy;
  copy.resize(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) copy[i] = row[i * stride];
  return copy.data();
}

// NaN or +inf among the logits or as log_normalizer of a live beam.
[[noreturn]] void reject_poisoned(const char* argument, int64_t request, int64_t beam) {
  throw InvalidArgument(
      complaint(kWhere, argument, "neither NaN nor +inf",
                "one at [" + std::to_string(request) + ", " + std::to_string(beam) + "]",
                "look for the first layer of the model whose output is not finite"));
}

template <class T>
Parent prepare(const BeamStepInput& input, int64_t request, int64_t beam) {
  const SidTrieView& trie = input.trie;
  Parent parent;
  parent.score = *input.beam_scores.at<const float>(request, beam);
  const NodeRange children =
      trie.children(input.level, *input.node.at<const int32_t>(request, beam));
  if (children.size() == 0 || !std::isfinite(parent.score)) return parent;

  const T* logits = input.logits.at<const T>(request, beam);
  const int64_t stride = input.logits.strides[2];
  const int64_t n = input.logits.shape[2];
  const T* row = contiguous(logits, n, stride);
  const RowMaximum maximum = row_maximum(row, n);
  if (kChecked && maximum.poisoned) reject_poisoned("logits", request, beam);
  if (maximum.poisoned || maximum.value == -kInfinity) return parent;
  switch (input.normalizer) {
    case Normalizer::kLevel:
      parent.normalizer = maximum.value + std::log(sum_of_exp(row, n, maximum.value));
      break;
    case Normalizer::kChildren:
      parent.normalizer = children_normalizer(trie, input.level, children, logits, stride);
      break;
    case Normalizer::kNone:
      break;
    case Normalizer::kVocab:
      parent.normalizer = *input.log_normalizer->at<const float>(request, beam);
      break;
  }
  const bool poisoned = std::isnan(parent.normalizer) || parent.normalizer == kInfinity;
  if (kChecked && poisoned) reject_poisoned("log_normalizer", request, beam);
  if (!std::isfinite(parent.normalizer)) return parent;
  // Rounding is monotone, so no child's score exceeds that of the row's maximum.
  parent.bound = candidate_score(parent, maximum.value);
  parent.children = children;
  return parent;
}

template <class T>
void offer_children(const BeamStepInput& input, const ItemFilterView* filter, const Parent& parent,
                    int64_t request, uint32_t beam, BestCandidates& best) {
  const SidTrieView& trie = input.trie;
  const T* logits = input.logits.at<const T>(request, beam);
  const int64_t stride = input.logits.strides[2];
  const uint32_t level_size = trie.level_sizes[input.level];
  for (uint32_t edge = parent.children.begin; edge < parent.children.end; ++edge) {
    const uint32_t token = trie.token(input.level, edge);
    if (token >= level_size) continue;
    const float score = candidate_score(parent, to_float(logits[token * stride]));
    if (!std::isfinite(score)) continue;
    const uint64_t key = candidate_key(score, beam, token);
    if (!best.admits(key)) continue;
    if (filter != nullptr && !filter->any(trie.ranks(input.level + 1, edge))) continue;
    best.add({key, edge});
  }
}

void write(const std::vector<Candidate>& best, const BeamStepOutput& output, int64_t request,
           int64_t num_beams) {
  const auto count = static_cast<int64_t>(best.size());
  for (int64_t i = 0; i < num_beams; ++i) {
    const bool alive = i < count;
    const uint64_t key = alive ? best[i].key : 0;
    *output.scores.at<float>(request, i) = alive ? score_of(key) : -kInfinity;
    *output.parent_beam.at<int32_t>(request, i) = alive ? static_cast<int32_t>(parent_of(key)) : -1;
    *output.tokens.at<int32_t>(request, i) = alive ? static_cast<int32_t>(token_of(key)) : -1;
    *output.node.at<int32_t>(request, i) = alive ? static_cast<int32_t>(best[i].node) : -1;
  }
  *output.count.at<int32_t>(request) = static_cast<int32_t>(count);
}

template <class T>
void select(const BeamStepInput& input, const BeamStepOutput& output, const Parent* parents,
            int64_t request) {
  static thread_local BestCandidates best;
  best.reset(input.num_beams);
  const size_t num_filters = input.filters.size();
  const ItemFilterView* filter =
      num_filters == 0 ? nullptr : input.filters[num_filters == 1 ? 0 : request];
  const int64_t beams = input.logits.shape[1];
  for (int64_t beam = 0; beam < beams; ++beam) {
    const Parent& parent = parents[beam];
    const auto index = static_cast<uint32_t>(beam);
    if (parent.children.size() == 0 || !best.admits(candidate_key(parent.bound, index, 0)))
      continue;
    offer_children<T>(input, filter, parent, request, index, best);
  }
  write(best.sorted(), output, request, input.num_beams);
}

// Two loops, so that a single request with many beams uses every thread for the part that reads all
// logits. Node and score are read in the first only, which is why outputs may share their memory.
template <class T>
void run(const BeamStepInput& input, const BeamStepOutput& output) {
  const int64_t batch = input.logits.shape[0];
  const int64_t beams = input.logits.shape[1];
  static thread_local std::vector<Parent> scratch;
  scratch.resize(static_cast<size_t>(batch * beams));
  Parent* const parents = scratch.data();
  const int64_t rows_per_task = std::max<int64_t>(1, kElementsPerTask / input.logits.shape[2]);
  parallel_for(batch * beams, rows_per_task, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) parents[i] = prepare<T>(input, i / beams, i % beams);
  });
  parallel_for(batch, std::max<int64_t>(1, rows_per_task / beams), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) select<T>(input, output, parents + i * beams, i);
  });
}

}  // namespace

void constrained_beam_step(const BeamStepInput& input, const BeamStepOutput& output) {
  check(input, output);
  switch (input.logits.dtype) {
    case DType::kFloat32:
      return run<float>(input, output);
    case DType::kBFloat16:
      return run<BFloat16>(input, output);
    default:
      return run<Float16>(input, output);
  }
}

}  // namespace onesearch
