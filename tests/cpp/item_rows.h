// Columns as callers give them, from plain vectors, which must outlive them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "index/item_columns.h"

namespace onesearch::testing {

template <class T>
TensorView vector_view(const T* values, size_t n, DType dtype) {
  TensorView view;
  view.data = const_cast<T*>(values);
  view.dtype = dtype;
  view.ndim = 1;
  view.shape = {static_cast<int64_t>(n)};
  view.strides = {1};
  return view;
}

inline ColumnRows rows_of(std::string name, ColumnKind kind, TensorView values,
                          const bool* missing) {
  ColumnRows rows;
  rows.name = std::move(name);
  rows.kind = kind;
  rows.values = values;
  rows.missing = missing;
  return rows;
}

inline ColumnRows integer_rows(std::string name, const std::vector<int64_t>& values,
                               const bool* missing) {
  return rows_of(std::move(name), ColumnKind::kInteger,
                 vector_view(values.data(), values.size(), DType::kInt64), missing);
}

inline ColumnRows real_rows(std::string name, const std::vector<float>& values,
                            const bool* missing) {
  return rows_of(std::move(name), ColumnKind::kReal,
                 vector_view(values.data(), values.size(), DType::kFloat32), missing);
}

inline ColumnRows real_rows(std::string name, const std::vector<double>& values,
                            const bool* missing) {
  return rows_of(std::move(name), ColumnKind::kReal,
                 vector_view(values.data(), values.size(), DType::kFloat64), missing);
}

inline ColumnRows bool_rows(std::string name, const bool* values, size_t n, const bool* missing) {
  return rows_of(std::move(name), ColumnKind::kBool, vector_view(values, n, DType::kBool), missing);
}

inline ColumnRows category_rows(std::string name, const std::vector<int64_t>& codes,
                                std::vector<std::string> categories, const bool* missing) {
  ColumnRows rows = rows_of(std::move(name), ColumnKind::kCategory,
                            vector_view(codes.data(), codes.size(), DType::kInt64), missing);
  rows.categories = std::move(categories);
  return rows;
}

// Lists as one vector and offsets.
struct ListRows {
  ListRows(std::string name, const std::vector<std::vector<int64_t>>& lists,
           std::vector<std::string> categories, const bool* missing) {
    for (const auto& list : lists) {
      values.insert(values.end(), list.begin(), list.end());
      begin.push_back(static_cast<int64_t>(values.size()));
    }
    rows = category_rows(std::move(name), values, std::move(categories), missing);
    rows.kind = ColumnKind::kCategories;
    rows.list_begin = begin.data();
  }
  ListRows(const ListRows&) = delete;

  std::vector<int64_t> values;
  std::vector<int64_t> begin = {0};
  ColumnRows rows;
};

template <class Random>
std::unique_ptr<bool[]> random_mask(Random& random, uint32_t n, uint32_t one_in) {
  auto mask = std::make_unique<bool[]>(n);
  for (uint32_t i = 0; i < n; ++i) mask[i] = random() % one_in == 0;
  return mask;
}

}  // namespace onesearch::testing
