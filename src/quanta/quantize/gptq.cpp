#include "quanta/quantize/gptq.h"

#include <algorithm>
#include <deque>

#include "quanta/core/error.h"
#include "quanta/core/parallel.h"
#include "quanta/quantize/finite.h"
#include "quanta/quantize/gptq_columns.h"
#include "quanta/quantize/inverse_factor.h"
#include "quanta/quantize/tiled_blas.h"

// Symbols of arXiv 2210.17323, algorithm 1:
//   W [N, K]  weights that are left to round      H [K, K]  Hessian of the inputs
//   Q [N, K]  rounded weights                     U [K, K]  upper factor, U' U = (H + lambda I)^-1
//   E [N, B]  errors of a block (W - Q) / U_jj
// W, Q and E are kept transposed, rows padded to whole tiles: a vector register then holds one column of many rows.

namespace quanta {
namespace {

int64_t padded(int64_t rows) {
  return (rows + columns::kRows - 1) / columns::kRows * columns::kRows;
}

/// t [N, groups(, levels)] as [groups(, levels), padded N].
torch::Tensor across_rows(const torch::Tensor& t, int64_t stride) {
  if (!t.defined()) return t;
  std::vector<int64_t> sizes(t.sizes().begin() + 1, t.sizes().end());
  sizes.push_back(stride);
  auto wide = torch::ones(sizes, t.options());
  wide.slice(-1, 0, t.size(0)).copy_(t.movedim(0, -1));
  return wide;
}

/// A fitted grid as the loop over columns reads it.
template <class T>
struct Fitted {
  RowGrid grid;
  torch::Tensor scale, zero, offset, values;
  Fitted(RowGrid fitted, int64_t stride)
      : grid(std::move(fitted)),
        scale(across_rows(grid.scale, stride)),
        zero(across_rows(grid.zero, stride)),
        offset(across_rows(grid.offset, stride)),
        values(across_rows(grid.values, stride)) {}

  columns::Levels<T> of(int64_t group) const {
    const auto at = [&](const torch::Tensor& t) -> const T* {
      return t.defined() ? t.select(0, group).data_ptr<T>() : nullptr;
    };
    return {at(scale), at(zero), at(offset), at(values), scale.size(-1), grid.levels};
  }
};

RowGrid joined(const std::vector<RowGrid>& grids) {
  RowGrid all = grids.front();
  const auto join = [&](torch::Tensor RowGrid::*member) {
    if (!(all.*member).defined()) return;
    std::vector<torch::Tensor> parts;
    for (const RowGrid& grid : grids) parts.push_back(grid.*member);
    all.*member = torch::cat(parts, 1);
  };
  for (const auto member : {&RowGrid::scale, &RowGrid::zero, &RowGrid::offset, &RowGrid::values}) join(member);
  return all;
}

template <class T>
GptqResult solve(torch::Tensor weight, torch::Tensor H, const GridRule& rule, const GptqOptions& o) {
  const int64_t N = weight.size(0), K = weight.size(1), stride = padded(N);
  const int64_t span = rule.span() > 0 ? std::min(rule.span(), K) : K;
  const bool as_it_goes = rule.span() > 0 && !o.static_groups;  // else all levels are fitted to the given weights
  GptqResult result;
  std::deque<Fitted<T>> fitted;
  if (!as_it_goes) fitted.emplace_back(rule.fit(weight), stride);

  auto diagonal = H.diagonal();
  const auto is_dead = diagonal == 0;
  auto order = o.act_order ? std::get<1>(torch::sort(diagonal, true, 0, true)) : torch::arange(K);
  if (is_dead.any().item<bool>()) {
    H = H.clone();
    H.diagonal().masked_fill_(is_dead, 1);
    weight = weight.masked_fill(is_dead, 0);
    const auto dead = is_dead.nonzero().flatten();
    result.dead.assign(dead.data_ptr<int64_t>(), dead.data_ptr<int64_t>() + dead.numel());
  }
  if (o.act_order) H = H.index_select(0, order).index_select(1, order);
  const InverseFactor factor = inverse_factor(H, o.damping, o.raises);
  H.reset();

  auto W = torch::zeros({K, stride}, weight.options());
  W.slice(1, 0, N).copy_(weight.t());
  if (o.act_order) W = W.index_select(0, order);
  const auto codes = torch::empty({K, stride}, torch::kUInt8), losses = torch::zeros({stride}, torch::kFloat64);
  auto E = torch::empty({std::min(o.block, K), stride}, weight.options());
  const T* const U = factor.u.data_ptr<T>();
  const int64_t* const original = order.data_ptr<int64_t>();
  std::vector<columns::Levels<T>> levels(static_cast<size_t>(K));
  for (int64_t j = 0; !as_it_goes && j < K; ++j) levels[size_t(j)] = fitted[0].of(original[j] / fitted[0].grid.group);

  for (int64_t i1 = 0, i2; i1 < K; i1 = i2) {
    i2 = std::min(i1 + o.block, K);
    // So that a group is fitted when nothing is owed to it, a block ends with a group.
    if (as_it_goes && o.group_stats == GroupStats::Current)
      i2 = std::min(i2, span <= i2 - i1 ? i2 - i2 % span : (i1 / span + 1) * span);
    const auto stale =
        as_it_goes && o.group_stats == GroupStats::BlockStart ? W.slice(0, i1, i2 + span).clone() : torch::Tensor();
    for (int64_t j1 = i1, j2; j1 < i2; j1 = j2) {
      j2 = as_it_goes ? std::min(i2, (j1 / span + 1) * span) : i2;
      if (as_it_goes && j1 % span == 0) {
        const auto w = stale.defined() ? stale.slice(0, j1 - i1, j1 - i1 + span) : W.slice(0, j1, j1 + span);
        fitted.emplace_back(rule.fit(w.slice(1, 0, N).t().contiguous()), stride);
        for (int64_t j = j1; j < std::min(j1 + span, K); ++j)
          levels[size_t(j)] = fitted.back().of((j - j1) / fitted.back().grid.group);
      }
      const columns::Stretch<T> stretch{.count = j2 - j1,
                                        .reach = i2 - j1,
                                        .stride = stride,
                                        .w = W.data_ptr<T>() + j1 * stride,
                                        .errors = E.data_ptr<T>() + (j1 - i1) * stride,
                                        .codes = codes.data_ptr<uint8_t>() + j1 * stride,
                                        .loss = losses.data_ptr<double>(),
                                        .u = U + j1 * K + j1,
                                        .u_stride = K,
                                        .levels = &levels[size_t(j1)]};
      parallel_for(stride / columns::kRows, 1, [&](int64_t begin, int64_t end) {
        for (int64_t tile = begin; tile < end; ++tile) columns::round_columns(stretch, tile * columns::kRows);
      });
    }
    // W[:, i2:] -= E U[i1:i2, i2:]
    tiled::add_product<T>(-1, {U + i1 * K + i2, i2 - i1, K - i2, K}, {E.data_ptr<T>(), i2 - i1, stride, stride}, false,
                          {W.data_ptr<T>() + i2 * stride, K - i2, stride, stride});
  }

  std::vector<RowGrid> grids;
  for (const auto& fit : fitted) grids.push_back(fit.grid);
  result.grid = joined(grids);
  const auto place = torch::argsort(order);
  const auto upright = [&](torch::Tensor t) {
    if (o.act_order) t = t.index_select(0, place);
    return t.slice(1, 0, N).t().contiguous();
  };
  result.codes = upright(codes);
  result.weight = upright(W);
  if (o.act_order && as_it_goes) result.g_idx = place.div(result.grid.group, "floor").to(torch::kInt32);
  result.row_loss = losses.slice(0, 0, N).clone();
  result.loss = result.row_loss.sum().item<double>();
  result.damping = factor.damping;
  const auto named = [&](std::vector<int64_t> positions) {
    for (int64_t& j : positions) j = original[j];
    std::sort(positions.begin(), positions.end());
    return positions;
  };
  result.troubled = named(factor.troubled);
  result.alone = named(factor.alone);
  return result;
}

torch::Tensor checked_weight(const torch::Tensor& w) {
  require(w.dim() == 2 && w.numel() > 0, "a weight to quantize is [outputs, inputs], got [{}]",
          fmt::join(w.sizes(), ", "));
  const auto type = w.scalar_type() == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32;
  const auto weight = w.detach().to(type).contiguous();
  require(all_finite(weight), "the weight has NaN or infinite elements: it cannot be quantized");
  return weight;
}

}  // namespace

GptqResult gptq(const torch::Tensor& w, const torch::Tensor& h, const GridRule& rule, const GptqOptions& options) {
  const auto weight = checked_weight(w);
  require(h.dim() == 2 && h.size(0) == w.size(1) && h.size(1) == w.size(1),
          "the Hessian of a weight [{}] must be [{}, {}], got [{}]", fmt::join(w.sizes(), ", "), w.size(1), w.size(1),
          fmt::join(h.sizes(), ", "));
  require(options.block > 0, "blocks of {} columns: expected at least 1, usually 128", options.block);
  const auto hessian = h.detach().to(weight.scalar_type()).contiguous();
  return weight.scalar_type() == torch::kFloat64 ? solve<double>(weight, hessian, rule, options)
                                                 : solve<float>(weight, hessian, rule, options);
}

GptqResult rtn(const torch::Tensor& w, const GridRule& rule) {
  const auto weight = checked_weight(w);
  GptqResult result;
  result.grid = rule.fit(weight);
  result.codes = quantize(weight, result.grid);
  result.weight = dequantize(result.codes, result.grid);
  return result;
}

double output_error(const torch::Tensor& w, const torch::Tensor& q, const torch::Tensor& h) {
  const auto d = w.detach() - q.detach();
  return ((d.matmul(h.to(d.scalar_type()))) * d).sum(torch::kFloat64).item<double>();
}

}  // namespace quanta
