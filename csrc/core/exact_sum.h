// Sums of float32 products in float64, in one order that every backend can follow: by halves.
#pragma once

#include <cstdint>
#include <vector>

namespace onesearch {

// The terms of a sum, padded with zeros to a power of two; element i takes in element i + n/2, for
// n halved until one is left.
class ExactSum {
 public:
  explicit ExactSum(int64_t size) : size_(size) {
    int64_t width = 1;
    while (width < size) width *= 2;
    terms_.resize(static_cast<size_t>(width));
  }

  int64_t size() const { return size_; }

  // ||a - b||^2
  double of_distance(const float* a, const float* b) {
    return of([=](int64_t d) {
      const double gap = static_cast<double>(a[d]) - static_cast<double>(b[d]);
      return gap * gap;
    });
  }

  double of_products(const float* a, const float* b) {
    return of([=](int64_t d) { return static_cast<double>(a[d]) * static_cast<double>(b[d]); });
  }

  double of_squares(const float* a) { return of_products(a, a); }

 private:
  template <class Term>
  double of(const Term& term) {
    const auto width = static_cast<int64_t>(terms_.size());
    double* at = terms_.data();
    for (int64_t d = 0; d < size_; ++d) at[d] = term(d);
    for (int64_t d = size_; d < width; ++d) at[d] = 0.0;
    for (int64_t half = width / 2; half > 0; half /= 2) {
      for (int64_t i = 0; i < half; ++i) at[i] += at[i + half];
    }
    return at[0];
  }

  int64_t size_;
  std::vector<double> terms_;
};

}  // namespace onesearch
