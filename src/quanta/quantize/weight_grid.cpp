#include "quanta/quantize/weight_grid.h"

#include <algorithm>
#include <bit>

#include "quanta/core/error.h"
#include "quanta/quantize/fake_quantize.h"
#include "quanta/quantize/weight_quantizers.h"

namespace quanta {

using torch::Tensor;

namespace {

/// The levels of a fitted quantizer with codes -m .. m.
WeightGrid symmetric_grid(std::shared_ptr<Quantizer> quantizer, const Tensor& rows) {
  quantizer->fit(rows);
  const int64_t m = (int64_t(1) << (quantizer->bits() - 1)) - 1;
  const auto codes = torch::arange(-m, m + 1, torch::kInt).expand({rows.size(0), -1}).contiguous();
  return {.levels = quantizer->decode(codes).to(rows.scalar_type()),
          .count = torch::full({rows.size(0), 1}, 2 * m + 1, torch::kLong),
          .first = torch::full({rows.size(0), 1}, -m, torch::kLong),
          .quantizer = std::move(quantizer)};
}

WeightGrid grid_of(const Tensor& rows, int bits, const GridOptions& options) {
  if (options.scheme == GridScheme::Uniform) {
    UniformOptions uniform = options.uniform;
    uniform.bits = bits;
    uniform.axis = 0;
    uniform.group = 0;
    UniformQuantizer quantizer(uniform);
    quantizer.fit(rows);
    return uniform_grid(quantizer.params(), rows.size(0));
  }
  if (options.scheme == GridScheme::Log)
    return symmetric_grid(std::make_shared<PowerOfTwoQuantizer>(PowerOfTwoOptions{.bits = bits, .axis = 0}), rows);
  return symmetric_grid(
      std::make_shared<PowerQuantizer>(PowerOptions{.bits = bits, .axis = 0, .exponent = options.exponent, .set = {}}),
      rows);
}

/// Rows of several grids put together: row r is that of grids[which[r]].
WeightGrid join_rows(const std::vector<WeightGrid>& grids, const std::vector<size_t>& which) {
  const WeightGrid* widest = &grids[0];
  for (const auto& grid : grids)
    if (grid.levels.size(1) > widest->levels.size(1)) widest = &grid;
  WeightGrid joined;
  joined.uniform = widest->uniform;
  std::vector<Tensor> levels, count, first, scale, zero_point;
  for (size_t row = 0; row < which.size(); ++row) {
    const WeightGrid& grid = grids[which[row]];
    const auto r = int64_t(row);
    const int64_t missing = widest->levels.size(1) - grid.levels.size(1);
    levels.push_back(torch::cat({grid.levels[r], grid.levels[r][-1].expand({missing})}));
    count.push_back(grid.count[r]);
    first.push_back(grid.first[r]);
    scale.push_back(grid.uniform.scale[r]);
    zero_point.push_back(grid.uniform.zero_point[r]);
  }
  joined.levels = torch::stack(levels);
  joined.count = torch::stack(count);
  joined.first = torch::stack(first);
  joined.uniform.scale = torch::stack(scale);
  joined.uniform.zero_point = torch::stack(zero_point);
  return joined;
}

}  // namespace

Tensor WeightGrid::position(const Tensor& w) const {
  const auto found = torch::searchsorted(levels, w.contiguous(), /*out_int32=*/false, /*right=*/true) - 1;
  const auto i = below(found);
  const auto low = levels.gather(1, i), high = levels.gather(1, i + 1);
  return i + ((w - low) / (high - low)).clamp(0, 1);
}

Tensor WeightGrid::below(const Tensor& p) const {
  return torch::minimum(p.detach().floor().to(torch::kLong).clamp_min(0), count - 2);
}

Tensor WeightGrid::at(const Tensor& p) const {
  const auto i = below(p);
  const auto low = levels.gather(1, i), high = levels.gather(1, i + 1);
  const auto above = p - i;
  return torch::where(above >= 1, high + (above - 1) * (high - low), low + above * (high - low));
}

WeightGrid uniform_grid(const QuantParams& params, int64_t rows) {
  const auto scale = params.scale.reshape({-1, 1}).expand({rows, 1}).contiguous();
  const auto zero = params.zero_point.reshape({-1, 1}).to(torch::kLong).expand({rows, 1});
  const int64_t count = params.qmax - params.qmin + 1;
  WeightGrid grid;
  grid.levels = (torch::arange(params.qmin, params.qmax + 1, torch::kLong) - zero).to(scale.scalar_type()) * scale;
  grid.count = torch::full({rows, 1}, count, torch::kLong);
  grid.first = torch::full({rows, 1}, params.qmin, torch::kLong);
  grid.uniform = params;
  grid.uniform.axis = 0;
  grid.uniform.scale = scale.flatten();
  grid.uniform.zero_point = zero.flatten().to(torch::kInt);
  return grid;
}

WeightGrid weight_grid(const Tensor& weight, const std::vector<int>& bits, const GridOptions& options) {
  const auto rows = weight.detach().flatten(1);
  require(bits.size() == 1 || int64_t(bits.size()) == rows.size(0),
          "a weight of {} rows got {} widths: expected one, or one a row", rows.size(0), bits.size());
  for (const int b : bits) require(b >= 1 && b <= 8, "weights have 1 to 8 bits, got {}", b);
  std::vector<int> widths = bits;
  std::ranges::sort(widths);
  widths.erase(std::unique(widths.begin(), widths.end()), widths.end());
  std::vector<WeightGrid> grids;
  for (const int width : widths) grids.push_back(grid_of(rows, width, options));
  if (grids.size() == 1) return grids[0];
  require(options.scheme == GridScheme::Uniform, "rows of different widths need a uniform grid");
  std::vector<size_t> which;
  for (const int b : bits) which.push_back(size_t(std::ranges::find(widths, b) - widths.begin()));
  return join_rows(grids, which);
}

std::shared_ptr<TensorTransform> grid_quantizer(const WeightGrid& grid) {
  if (grid.quantizer) return grid.quantizer->copy();
  const int bits = std::bit_width(uint64_t(grid.count.max().item<int64_t>() - 1));
  const UniformOptions options{.bits = bits,
                               .symmetric = grid.uniform.qmin < 0,
                               .narrow = grid.uniform.qmin < 0 && grid.uniform.qmin == -grid.uniform.qmax,
                               .axis = 0};
  auto made = std::make_shared<FakeQuantize>(options, ObserverOptions{.kind = ObserverKind::Last, .axis = 0});
  made->observe(false);
  made->quantizer().set_params(grid.uniform);
  return made;
}

}  // namespace quanta
