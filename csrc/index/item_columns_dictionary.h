// What the codes of a column mean, while columns are made.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "index/item_columns_view.h"

namespace onesearch {

// Texts of a kCategory column; of a kCategories column lists of texts as well, which are then what
// its codes stand for. In the making neither need be sorted or distinct.
struct Dictionary {
  std::vector<std::string_view> texts;
  std::vector<uint64_t> list_begin = {0};  // [lists + 1] offsets into list_values
  std::vector<uint32_t> list_values;       // indexes into texts

  size_t num_lists() const { return list_begin.size() - 1; }

  // Adds the dictionary of a column; its codes count on from those that are here.
  void append(const ColumnView& column);

  // Adds a list, whose values are in `list_values` already from the end of the last one on.
  void close_list() { list_begin.push_back(list_values.size()); }
};

struct SortedDictionary {
  Dictionary dictionary;          // what is used, ascending and distinct
  std::vector<uint32_t> code_of;  // a code of the dictionary that was given -> a code of this one
};

// used[c]: whether code c occurs.
SortedDictionary sort_texts(const Dictionary& given, const std::vector<uint8_t>& used);
SortedDictionary sort_lists(const Dictionary& given, const std::vector<uint8_t>& used);

}  // namespace onesearch
