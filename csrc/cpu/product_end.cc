#include "cpu/product_end.h"

namespace onesearch {
namespace {

void check_rows(const TensorCheck& check, const TensorView& tensor, const char* argument,
                const TensorView& x, int64_t outputs) {
  check.tensor(tensor, argument, x.dtype, {{"row", x.shape[0]}, {"out", outputs}});
  check.contiguous_rows(tensor, argument);
}

}  // namespace

void ProductEnd::check(const TensorCheck& check, const TensorView& x, int64_t outputs,
                       const TensorView& out) const {
  if (bias != nullptr) {
    check.tensor(*bias, "bias", x.dtype, {{"out", outputs}});
    check.contiguous_rows(*bias, "bias");
  }
  if (added != nullptr && factor != nullptr) {
    check.refuse("factor", "added or factor, or neither", "both");
  }
  if (added != nullptr) check_rows(check, *added, "added", x, outputs);
  if (factor != nullptr) check_rows(check, *factor, "factor", x, outputs);
  check_rows(check, out, "out", x, outputs);
  check.writable(out, "out");
  check.one_device(
      {{&x, "x"}, {bias, "bias"}, {added, "added"}, {factor, "factor"}, {&out, "out"}});
}

TileEnd ProductEnd::at(const TensorView& out, int64_t row, int64_t output) const {
  const TensorView* other = added != nullptr ? added : factor;
  TileEnd end;
  end.bias = bias == nullptr ? nullptr : bias->element({output});
  end.activation = activation;
  end.other = other == nullptr ? nullptr : other->element({row, output});
  end.multiply = factor != nullptr;
  end.out = out.element({row, output});
  end.other_stride = other == nullptr ? 0 : other->strides[0];
  end.out_stride = out.strides[0];
  return end;
}

}  // namespace onesearch
