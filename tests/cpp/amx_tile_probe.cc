#if defined(ONESEARCH_TIER_emulated_tiles)
#define ONESEARCH_AMX_EMULATED
#endif

#include "amx_tile_probe.h"

#include "cpu/amx_tile.h"

namespace onesearch::ONESEARCH_TIER {
namespace {

template <int S, int A, int B, class = void>
constexpr bool kMultiplies = false;
template <int S, int A, int B>
constexpr bool kMultiplies<S, A, B, std::void_t<decltype(amx::multiply_add<S, A, B>())>> = true;

static_assert(kMultiplies<0, 1, 2> && kMultiplies<7, 5, 6>);
static_assert(!kMultiplies<0, 0, 1> && !kMultiplies<0, 1, 0> && !kMultiplies<1, 0, 0>);

void load_config(const TileConfig& config) {
  amx::TileShapes shapes;
  __builtin_memcpy(&shapes, config.bytes, sizeof shapes);
  amx::configure(shapes);
}

void configure(const TileConfig& config) {
  load_config(config);
  amx::release();
}

void copy(const TileConfig& config, const void* from, void* to, int64_t stride) {
  load_config(config);
  amx::load<0>(from, stride);
  amx::store<0>(to, stride);
  amx::release();
}

void zero(const TileConfig& config, void* to, int64_t stride) {
  load_config(config);
  amx::zero<0>();
  amx::store<0>(to, stride);
  amx::release();
}

void multiply_add(const TileConfig& config, void* sum, const void* left, const void* right,
                  int64_t stride) {
  load_config(config);
  amx::load<0>(sum, stride);
  amx::load<1>(left, stride);
  amx::load<2>(right, stride);
  amx::multiply_add<0, 1, 2>();
  amx::store<0>(sum, stride);
  amx::release();
}

void multiply_zeros(const TileConfig& config) {
  load_config(config);
  amx::zero<0>();
  amx::zero<1>();
  amx::zero<2>();
  amx::multiply_add<0, 1, 2>();
  amx::release();
}

}  // namespace

extern const TileProbe tile_probe{&configure, &copy, &zero, &multiply_add, &multiply_zeros};

}  // namespace onesearch::ONESEARCH_TIER
