// Invented catalogues, and what a trie over them must say, by plain maps.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "core/hash.h"
#include "index/sid_trie.h"

namespace onesearch::testing {

// A temporary file name, removed at the end.
class ScratchFile {
 public:
  ScratchFile();
  ~ScratchFile();
  const std::string& path() const { return path_; }

 private:
  std::string folder_;
  std::string path_;
};

using Code = std::vector<int32_t>;

struct RandomCatalogue {
  std::vector<int64_t> level_sizes;
  std::vector<int32_t> codes;  // [num_items, num_levels]
  std::vector<int64_t> ids;
  std::vector<double> scores;

  int64_t num_items() const { return static_cast<int64_t>(ids.size()); }
  int num_levels() const { return static_cast<int>(level_sizes.size()); }

  Code code(int64_t row) const {
    const auto first = codes.begin() + row * num_levels();
    return Code(first, first + num_levels());
  }

  CatalogueCodes input() const {
    CatalogueCodes input;
    input.codes.data = const_cast<int32_t*>(codes.data());
    input.codes.dtype = DType::kInt32;
    input.codes.ndim = 2;
    input.codes.shape = {num_items(), num_levels()};
    input.codes.strides = {num_levels(), 1};
    input.level_sizes = level_sizes;
    input.item_ids = ids.data();
    input.item_scores = scores.data();
    return input;
  }

  // Item ids of every SID, in the order in which the trie must list them.
  std::map<Code, std::vector<int64_t>> items() const {
    std::map<Code, std::vector<int64_t>> rows;
    for (int64_t row = 0; row < num_items(); ++row) rows[code(row)].push_back(row);
    for (auto& entry : rows) {
      std::sort(entry.second.begin(), entry.second.end(), [this](int64_t a, int64_t b) {
        if (scores[a] != scores[b]) return scores[a] > scores[b];
        return item_hash(ids[a]) < item_hash(ids[b]);
      });
      for (int64_t& row : entry.second) row = ids[row];
    }
    return rows;
  }
};

// Codes crowd towards 0, so that SIDs share prefixes and items share SIDs; scores tie often.
inline RandomCatalogue random_catalogue(uint32_t seed, const std::vector<int64_t>& level_sizes,
                                        int64_t num_items) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<double> uniform(0.0, 1.0);
  RandomCatalogue catalogue;
  catalogue.level_sizes = level_sizes;
  for (int64_t row = 0; row < num_items; ++row) {
    for (const int64_t size : level_sizes) {
      const double u = uniform(random);
      catalogue.codes.push_back(static_cast<int32_t>(u * u * static_cast<double>(size)));
    }
    catalogue.ids.push_back(row * 7919 + 13);
    catalogue.scores.push_back(static_cast<double>(random() % 3));
  }
  std::shuffle(catalogue.ids.begin(), catalogue.ids.end(), random);
  return catalogue;
}

}  // namespace onesearch::testing
