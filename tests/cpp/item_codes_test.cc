#include "index/item_codes.h"

#include <vector>

#include "catalogue.h"
#include "check.h"

using namespace onesearch;
using namespace onesearch::testing;

TEST(items_lead_back_to_their_codes) {
  const RandomCatalogue catalogue = random_catalogue(3, {6, 300, 4}, 500);
  const auto trie = SidTrie::build(catalogue.input());
  std::vector<int64_t> ids = catalogue.ids;
  ids.push_back(-1);
  ids.push_back(int64_t{1} << 60);
  std::vector<int32_t> codes(ids.size() * 3);
  item_codes(trie->catalogue_view(), ids.data(), static_cast<int64_t>(ids.size()), codes.data());
  for (int64_t row = 0; row < catalogue.num_items(); ++row) {
    const Code got(codes.begin() + 3 * row, codes.begin() + 3 * row + 3);
    CHECK(got == catalogue.code(row));
  }
  const std::vector<int32_t> unknown(codes.end() - 6, codes.end());
  CHECK(unknown == std::vector<int32_t>(6, -1));
}
