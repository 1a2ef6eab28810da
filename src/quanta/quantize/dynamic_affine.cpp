#include "quanta/quantize/dynamic_affine.h"

#include "quanta/core/error.h"
#include "quanta/quantize/straight_through.h"

namespace quanta {
namespace {

double highest(int bits) {
  return double((int64_t{1} << bits) - 1);
}

}  // namespace

DynamicGrid dynamic_grid(const torch::Tensor& x, const DynamicAffineOptions& options) {
  const double least = 1e-5, greatest = 1e4;
  if (options.symmetric) {
    const double half = highest(options.bits - 1);
    const auto scale = (x.abs().amax(-1, true) / half).clamp(least, greatest);
    return {scale, torch::full_like(scale, half)};
  }
  const auto low = x.amin(-1, true);
  const auto scale = ((x.amax(-1, true) - low) / highest(options.bits)).clamp(least, greatest);
  return {scale, (low / scale).detach().neg().round()};
}

torch::Tensor dynamic_codes(const torch::Tensor& x, const DynamicGrid& grid, int bits) {
  const auto steps = x / grid.scale;
  return (straight_through(steps, steps.round()) + grid.zero).clamp(0, highest(bits));
}

torch::Tensor dynamic_affine(const torch::Tensor& x, const DynamicAffineOptions& options) {
  const DynamicGrid grid = dynamic_grid(x, options);
  return (dynamic_codes(x, grid, options.bits) - grid.zero) * grid.scale;
}

DynamicAffine::DynamicAffine(const DynamicAffineOptions& options) : options_(options) {
  require(options.bits >= 1 + options.symmetric && options.bits <= 16, "a {} grid of {} bits a row: expected {} to 16",
          options.symmetric ? "symmetric" : "dynamic", options.bits, 1 + options.symmetric);
}

nlohmann::json DynamicAffine::spec() const {
  return {{"kind", "dynamic"}, {"bits", options_.bits}, {"symmetric", options_.symmetric}};
}

QuantizedMatrix quantize_rows(const torch::Tensor& weight, const DynamicAffineOptions& options) {
  require(options.bits >= 2 && options.bits <= 8, "weights of {} bits: expected 2 to 8", options.bits);
  require(weight.isfinite().all().item<bool>(), "a weight holds numbers that are not finite");
  const DynamicGrid grid = dynamic_grid(weight, options);
  return {.bits = options.bits,
          .codes = dynamic_codes(weight, grid, options.bits).to(torch::kUInt8),
          .grid = {.group = weight.size(1), .levels = 1 << options.bits, .scale = grid.scale, .zero = grid.zero}};
}

}  // namespace quanta
