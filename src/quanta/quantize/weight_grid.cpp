#include "quanta/quantize/weight_grid.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "quanta/core/error.h"
#include "quanta/quantize/fake_quantize.h"

namespace quanta {

using torch::Tensor;

namespace {

/// Levels 2m + 1 for codes -m .. m from those above zero, [rows, m].
WeightGrid symmetric_grid(GridScheme scheme, const Tensor& positive) {
  const int64_t rows = positive.size(0), m = positive.size(1);
  WeightGrid grid{.scheme = scheme};
  grid.levels = torch::cat({-positive.flip(1), torch::zeros({rows, 1}, positive.options()), positive}, 1);
  grid.count = torch::full({rows, 1}, 2 * m + 1, torch::kLong);
  grid.first = torch::full({rows, 1}, -m, torch::kLong);
  return grid;
}

Tensor largest(const Tensor& rows) {
  const auto m = rows.abs().amax(1, /*keepdim=*/true);
  return torch::where(m > 0, m, torch::ones_like(m));
}

WeightGrid power_grid(const Tensor& rows, int bits, double exponent) {
  const int64_t m = (int64_t(1) << (bits - 1)) - 1;
  return symmetric_grid(GridScheme::Power,
                        largest(rows) * (torch::arange(1, m + 1, rows.options()) / double(m)).pow(1 / exponent));
}

WeightGrid log_grid(const Tensor& rows, int bits) {
  const int64_t m = (int64_t(1) << (bits - 1)) - 1;
  return symmetric_grid(GridScheme::Log, largest(rows) * torch::exp2(torch::arange(1 - m, 1, rows.options())));
}

/// Nearest level by sorting in.
Tensor round_to_grid(const WeightGrid& grid, const Tensor& rows) {
  return grid.at((grid.position(rows) + 0.5).floor());
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
  require(bits >= 2 && bits <= 8, "a power or logarithmic grid has 2 to 8 bits, got {}", bits);
  if (options.scheme == GridScheme::Log) return log_grid(rows, bits);
  require(options.exponent >= 0 && options.exponent <= 2, "the exponent of a power grid lies in (0, 2], got {}",
          options.exponent);
  return power_grid(rows, bits, options.exponent > 0 ? options.exponent : search_exponent(rows, bits));
}

/// Rows of several grids put together: row r is that of grids[which[r]].
WeightGrid join_rows(const std::vector<WeightGrid>& grids, const std::vector<size_t>& which) {
  const WeightGrid* widest = &grids[0];
  for (const auto& grid : grids)
    if (grid.levels.size(1) > widest->levels.size(1)) widest = &grid;
  WeightGrid joined{.scheme = widest->scheme};
  joined.uniform = widest->uniform;
  const bool uniform = joined.uniform.scale.defined();
  std::vector<Tensor> levels, count, first, scale, zero_point;
  for (size_t row = 0; row < which.size(); ++row) {
    const WeightGrid& grid = grids[which[row]];
    const auto r = int64_t(row);
    const int64_t missing = widest->levels.size(1) - grid.levels.size(1);
    levels.push_back(torch::cat({grid.levels[r], grid.levels[r][-1].expand({missing})}));
    count.push_back(grid.count[r]);
    first.push_back(grid.first[r]);
    if (!uniform) continue;
    scale.push_back(grid.uniform.scale[r]);
    zero_point.push_back(grid.uniform.zero_point[r]);
  }
  joined.levels = torch::stack(levels);
  joined.count = torch::stack(count);
  joined.first = torch::stack(first);
  if (uniform) {
    joined.uniform.scale = torch::stack(scale);
    joined.uniform.zero_point = torch::stack(zero_point);
  }
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
  std::vector<size_t> which;
  for (const int b : bits) which.push_back(size_t(std::ranges::find(widths, b) - widths.begin()));
  return join_rows(grids, which);
}

double search_exponent(const Tensor& weight, int bits) {
  const auto rows = weight.detach().flatten(1);
  const auto error = [&](double a) {
    return (round_to_grid(power_grid(rows, bits, a), rows) - rows).norm().item<double>();
  };
  double best = 1, least = error(1);
  for (int i = 20; i <= 120; ++i)
    if (const double e = error(i / 100.0); e < least) least = e, best = i / 100.0;
  const double golden = (std::sqrt(5.0) - 1) / 2;
  double low = best - 0.01, high = best + 0.01;
  double a = high - golden * (high - low), b = low + golden * (high - low);
  double ea = error(a), eb = error(b);
  while (high - low > 1e-4) {
    if (ea < eb) {
      high = b, b = a, eb = ea;
      ea = error(a = high - golden * (high - low));
    } else {
      low = a, a = b, ea = eb;
      eb = error(b = low + golden * (high - low));
    }
  }
  const double middle = (low + high) / 2;
  return error(middle) < least ? middle : best;
}

LevelQuantizer::LevelQuantizer(int bits, const GridOptions& options) : bits_(bits), options_(options) {
  require(bits >= 1 && bits <= 8, "weights have 1 to 8 bits, got {}", bits);
  levels_ = register_buffer("levels", {});
  count_ = register_buffer("count", {});
  first_ = register_buffer("first", {});
}

void LevelQuantizer::set_grid(const WeightGrid& grid) {
  levels_.set_data(grid.levels.clone());
  count_.set_data(grid.count.clone());
  first_.set_data(grid.first.clone());
}

WeightGrid LevelQuantizer::grid() const {
  require(levels_.defined() && levels_.numel() > 0, "a quantizer of weights was used before its levels were set");
  return {.levels = levels_, .count = count_, .first = first_};
}

Tensor LevelQuantizer::encode(const Tensor& x) const {
  require(x.isfinite().all().item<bool>(), "a weight to be encoded holds values that are not finite");
  const auto nearest = (grid().position(x.detach().flatten(1)) + 0.5).floor().to(torch::kLong);
  return (nearest + first_).to(torch::kInt).view(x.sizes());
}

Tensor LevelQuantizer::decode(const Tensor& codes) const {
  return grid().at((codes.flatten(1).to(torch::kLong) - first_).to(levels_.scalar_type())).view(codes.sizes());
}

Tensor LevelQuantizer::forward(const Tensor& x) {
  const auto low = levels_.select(1, 0).unsqueeze(1), high = levels_.select(1, -1).unsqueeze(1);
  const auto rows = x.flatten(1);
  const auto inside = torch::minimum(torch::maximum(rows, low), high).view(x.sizes());
  const auto rounded = decode(encode(x));
  return rounded + (inside - inside.detach());
}

std::shared_ptr<TensorTransform> LevelQuantizer::copy() const {
  auto made = std::make_shared<LevelQuantizer>(bits_, options_);
  if (levels_.numel() > 0) made->set_grid(grid());
  return made;
}

std::string LevelQuantizer::describe() const {
  return fmt::format("{} bits, {}, per channel", bits_, options_.scheme == GridScheme::Log ? "logarithmic" : "power");
}

std::shared_ptr<TensorTransform> grid_quantizer(const WeightGrid& grid) {
  const int bits = std::bit_width(uint64_t(grid.count.max().item<int64_t>() - 1));
  if (!grid.uniform.scale.defined()) {
    auto made = std::make_shared<LevelQuantizer>(bits, GridOptions{.scheme = grid.scheme});
    made->set_grid(grid);
    return made;
  }
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
