#include "quanta/quantize/affine_grid.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "quanta/core/error.h"
#include "quanta/core/parallel.h"
#include "quanta/quantize/grid.h"

namespace quanta {
namespace {

constexpr int kRatios = 80;  // of the search, in steps of 1 %
constexpr int64_t kGrain = 1 << 14;

template <class T>
struct Affine {
  T scale, zero;
};

/// x, or the float16 number next to it that a file can hold; not 0.
template <class T>
T storable(const AffineGridOptions& o, T x) {
  constexpr T kLeast = T(0x1p-24), kMost = T(65504);
  if (!o.half_scales) return x;
  return T(float(c10::Half(float(std::copysign(std::clamp(std::abs(x), kLeast, kMost), x)))));
}

/// Scale and zero point for a range that holds 0 and more.
template <class T>
Affine<T> affine(const AffineGridOptions& o, T low, T high) {
  const T top = T((1 << o.bits) - 1), half = (top + 1) / 2, reach = std::max(-low, high);
  if (o.kind == AffineKind::Signed) return {storable(o, reach / (half - 1)), half};
  if (o.kind == AffineKind::Symmetric) return {storable(o, 2 * reach / top), half};
  const T scale = storable(o, std::max((high - low) / top, std::numeric_limits<T>::min()));
  return {scale, std::clamp(std::nearbyint(-low / scale), T(0), top)};
}

/// The share of the range with the least error.
template <class T, class Error>
T best_share(bool search, const Error& error) {
  T best = 1;
  double least = std::numeric_limits<double>::infinity();
  for (int i = 0; search && i < kRatios; ++i) {
    const T share = 1 - T(i) / T(100);
    if (const double e = error(share); e < least) least = e, best = share;
  }
  return best;
}

/// Sum of |w^ - w|^norm with w^ the nearest of ascending levels.
template <class T>
double uneven_error(const std::vector<T>& levels, const T* w, int64_t n, double norm) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    const auto above = std::lower_bound(levels.begin() + 1, levels.end() - 1, w[i]);
    sum += std::pow(double(std::min(std::abs(*above - w[i]), std::abs(w[i] - above[-1]))), norm);
  }
  return sum;
}

/// The scaled levels of a grid that is not uniform, for a range that holds 0.
template <class T>
std::vector<T> uneven(const AffineGridOptions& o, const std::vector<double>& table, T low, T high) {
  if (o.kind == AffineKind::Ternary) return {low < 0 ? storable(o, low) : 0, 0, high > 0 ? storable(o, high) : 0};
  const T scale = storable(o, std::max(-low, high));
  std::vector<T> levels;
  for (const double t : table) levels.push_back(T(t) * scale);
  return levels;
}

template <class T>
RowGrid fit_grid(const torch::Tensor& w, const AffineGridOptions& o) {
  const int64_t rows = w.size(0), columns = w.size(1), group = o.group < 0 ? columns : std::min(o.group, columns);
  const int64_t groups = (columns + group - 1) / group;
  const bool even = o.kind != AffineKind::Ternary && o.kind != AffineKind::NormalFloat;
  const auto table = o.kind == AffineKind::NormalFloat ? normal_float_levels(o.bits) : std::vector<double>();
  const int levels = o.kind == AffineKind::Ternary ? 3 : 1 << o.bits;
  RowGrid grid{.group = group, .levels = levels};
  grid.scale = torch::empty({rows, groups}, w.options());
  grid.zero = torch::zeros_like(grid.scale);
  if (!even) grid.values = torch::empty({rows, groups, levels}, w.options());
  const T* from = w.data_ptr<T>();
  parallel_for(rows * groups, std::max<int64_t>(1, kGrain / group), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const int64_t first = r % groups * group, n = std::min(group, columns - first);
      const T* x = from + r / groups * columns + first;
      const auto range = grid::loops<T>().extremes(x, size_t(n));
      require(std::isfinite(range.low) && std::isfinite(range.high), "row {} of a weight has NaN or infinite elements",
              r / groups);
      T low = std::min(range.low, T(0)), high = std::max(range.high, T(0));
      if (low == high) low = -1, high = 1;
      T& scale = grid.scale.data_ptr<T>()[r];
      T& zero = grid.zero.data_ptr<T>()[r];
      if (even) {
        const T share = best_share<T>(o.search, [&](T p) {
          const auto a = affine(o, p * low, p * high);
          return grid::loops<T>().error({a.scale, -a.zero, T(levels - 1) - a.zero}, x, size_t(n), o.norm);
        });
        const auto a = affine(o, share * low, share * high);
        scale = a.scale, zero = a.zero;
      } else {
        const T share = best_share<T>(
            o.search, [&](T p) { return uneven_error(uneven(o, table, p * low, p * high), x, n, o.norm); });
        const auto made = uneven(o, table, share * low, share * high);
        std::copy(made.begin(), made.end(), grid.values.data_ptr<T>() + r * levels);
        scale = made.back();
        if (o.kind == AffineKind::Ternary) zero = made.front();
      }
    }
  });
  return grid;
}

/// t [N, G] for each column's group: [N, K].
torch::Tensor of_columns(const torch::Tensor& t, const torch::Tensor& group_of) {
  return t.index_select(1, group_of);
}

torch::Tensor groups_of_columns(const RowGrid& grid, torch::IntArrayRef sizes, const torch::Tensor& group_of) {
  require(sizes.size() == 2 && grid.scale.defined() && grid.group > 0 && sizes[0] == grid.scale.size(0),
          "a grid for [{}] rows and groups does not fit a weight [{}]",
          grid.scale.defined() ? fmt::format("{}", fmt::join(grid.scale.sizes(), ", ")) : "no", fmt::join(sizes, ", "));
  auto groups = group_of.defined() ? group_of.to(torch::kInt64) : torch::arange(sizes[1]).div(grid.group, "floor");
  require(groups.numel() == sizes[1] && (sizes[1] == 0 || (groups.min().item<int64_t>() >= 0 &&
                                                           groups.max().item<int64_t>() < grid.scale.size(1))),
          "{} columns in groups of {} do not fit a grid of {} groups", sizes[1], grid.group, grid.scale.size(1));
  return groups;
}

}  // namespace

AffineGrid::AffineGrid(const AffineGridOptions& options) : options_(options) {
  require(options.kind == AffineKind::Ternary || (options.bits >= 2 && options.bits <= 8),
          "a weight grid of {} bits: expected 2 to 8", options.bits);
  require(options.group == -1 || options.group > 0, "groups of {} columns: expected a positive number, or -1 for rows",
          options.group);
  require(options.norm > 0, "the norm of a range search must be positive, got {}", options.norm);
}

RowGrid AffineGrid::fit(const torch::Tensor& w) const {
  require(w.dim() == 2 && w.numel() > 0, "a weight grid is for a weight [rows, columns], got [{}]",
          fmt::join(w.sizes(), ", "));
  const auto x = w.detach();
  if (x.scalar_type() == torch::kFloat64) return fit_grid<double>(x.contiguous(), options_);
  return fit_grid<float>(x.to(torch::kFloat32).contiguous(), options_);
}

std::string AffineGrid::describe() const {
  constexpr std::array names{"asymmetric", "symmetric", "signed", "ternary", "NormalFloat"};
  return fmt::format("{}{}{}{}{}", names[size_t(options_.kind)],
                     options_.kind == AffineKind::Ternary ? "" : fmt::format(" {} bits", options_.bits),
                     options_.group < 0 ? "" : fmt::format(", groups of {}", options_.group),
                     options_.search ? fmt::format(", range search (norm {})", options_.norm) : "",
                     options_.half_scales ? ", float16 scales" : "");
}

double AffineGrid::bits_per_weight(int64_t columns) const {
  const double group = double(options_.group < 0 ? columns : std::min(options_.group, columns));
  switch (options_.kind) {
    case AffineKind::Ternary:
      return 1.6 + 32 / group;  // five codes a byte, two levels of 16 bits
    case AffineKind::Asymmetric:
      return options_.bits + (16 + options_.bits) / group;
    default:
      return options_.bits + 16 / group;
  }
}

std::vector<double> normal_float_levels(int bits) {
  require(bits >= 2 && bits <= 8, "NormalFloat of {} bits: expected 2 to 8", bits);
  constexpr double kEnd = 0.9677083;  // the outermost quantile
  const auto quantile = [](double p) {
    return std::sqrt(2.0) * torch::erfinv(torch::tensor(2 * p - 1, torch::kFloat64)).item<double>();
  };
  const int half = 1 << (bits - 1);
  std::vector<double> levels;
  for (int i = 0; i < half - 1; ++i) levels.push_back(quantile(1 - kEnd + (kEnd - 0.5) * i / (half - 1)));
  levels.push_back(0);
  for (int i = 1; i <= half; ++i) levels.push_back(quantile(0.5 + (kEnd - 0.5) * i / half));
  for (double& level : levels) level /= quantile(kEnd);
  return levels;
}

torch::Tensor quantize(const torch::Tensor& w, const RowGrid& grid, const torch::Tensor& group_of) {
  const auto groups = groups_of_columns(grid, w.sizes(), group_of);
  const auto x = w.detach().to(grid.scale.scalar_type());
  if (grid.values.defined()) {
    auto codes = torch::zeros(w.sizes(), torch::kUInt8);
    for (int q = 1; q < grid.levels; ++q) {
      const auto middle = of_columns((grid.values.select(2, q - 1) + grid.values.select(2, q)) * 0.5, groups);
      codes += x.gt(middle) | (x.eq(middle) & middle.lt(0));
    }
    return codes;
  }
  const auto scale = of_columns(grid.scale, groups), zero = of_columns(grid.zero, groups);
  const auto ratio = (grid.offset.defined() ? x - of_columns(grid.offset, groups) : x) / scale;
  const auto unit = torch::where(scale == 0, torch::zeros_like(ratio), ratio).clamp(-zero, grid.levels - 1 - zero);
  return (unit.round() + zero).to(torch::kUInt8);
}

torch::Tensor dequantize(const torch::Tensor& codes, const RowGrid& grid, const torch::Tensor& group_of) {
  const auto groups = groups_of_columns(grid, codes.sizes(), group_of);
  if (grid.values.defined()) {
    const auto runs = torch::arange(codes.size(0)).unsqueeze(1) * grid.values.size(1) + groups;
    return grid.values.take(runs * grid.levels + codes);
  }
  const auto value =
      (codes.to(grid.scale.scalar_type()) - of_columns(grid.zero, groups)) * of_columns(grid.scale, groups);
  return grid.offset.defined() ? value + of_columns(grid.offset, groups) : value;
}

}  // namespace quanta
