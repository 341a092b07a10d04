#include "index/item_columns_dictionary.h"

#include <algorithm>

namespace onesearch {
namespace {

struct Numbering {
  std::vector<uint32_t> elements;   // one of each number, ascending
  std::vector<uint32_t> number_of;  // [used]
};

// Numbers the used elements in the order of `less`; equal ones share a number.
template <class Less>
Numbering number(const std::vector<uint8_t>& used, Less less) {
  std::vector<uint32_t> sorted;
  for (uint32_t i = 0; i < used.size(); ++i) {
    if (used[i] != 0) sorted.push_back(i);
  }
  std::sort(sorted.begin(), sorted.end(), less);
  Numbering numbering;
  numbering.number_of.resize(used.size());
  for (const uint32_t element : sorted) {
    const bool first = numbering.elements.empty() || less(numbering.elements.back(), element);
    if (first) numbering.elements.push_back(element);
    numbering.number_of[element] = static_cast<uint32_t>(numbering.elements.size() - 1);
  }
  return numbering;
}

}  // namespace

void Dictionary::append(const ColumnView& column) {
  const auto first_text = static_cast<uint32_t>(texts.size());
  for (uint32_t code = 0; code < column.num_categories; ++code) {
    texts.push_back(column.category(code));
  }
  for (uint32_t code = 0; code < column.num_lists; ++code) {
    const ColumnView::CodeRange list = column.list(code);
    for (const uint32_t* value = list.begin; value < list.end; ++value) {
      // An unverified column may hold any number.
      if (*value < column.num_categories) list_values.push_back(first_text + *value);
    }
    close_list();
  }
}

SortedDictionary sort_texts(const Dictionary& given, const std::vector<uint8_t>& used) {
  const Numbering numbering =
      number(used, [&](uint32_t a, uint32_t b) { return given.texts[a] < given.texts[b]; });
  SortedDictionary sorted;
  for (const uint32_t text : numbering.elements) {
    sorted.dictionary.texts.push_back(given.texts[text]);
  }
  sorted.code_of = numbering.number_of;
  return sorted;
}

SortedDictionary sort_lists(const Dictionary& given, const std::vector<uint8_t>& used) {
  std::vector<uint8_t> used_texts(given.texts.size());
  for (size_t list = 0; list < used.size(); ++list) {
    if (used[list] == 0) continue;
    for (uint64_t at = given.list_begin[list]; at < given.list_begin[list + 1]; ++at) {
      used_texts[given.list_values[at]] = 1;
    }
  }
  SortedDictionary sorted = sort_texts(given, used_texts);
  std::vector<uint32_t> values = given.list_values;
  for (uint32_t& value : values) value = sorted.code_of[value];

  const auto begin = [&](uint32_t list) { return values.begin() + given.list_begin[list]; };
  const Numbering numbering = number(used, [&](uint32_t a, uint32_t b) {
    return std::lexicographical_compare(begin(a), begin(a + 1), begin(b), begin(b + 1));
  });
  for (const uint32_t list : numbering.elements) {
    sorted.dictionary.list_values.insert(sorted.dictionary.list_values.end(), begin(list),
                                         begin(list + 1));
    sorted.dictionary.close_list();
  }
  sorted.code_of = numbering.number_of;
  return sorted;
}

}  // namespace onesearch
