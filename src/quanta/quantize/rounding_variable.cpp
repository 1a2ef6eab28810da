#include "quanta/quantize/rounding_variable.h"

#include <algorithm>
#include <cmath>

#include "quanta/core/error.h"

namespace quanta {

using torch::Tensor;

Tensor rounding_h(RoundingKind kind, const Tensor& v) {
  switch (kind) {
    case RoundingKind::RectifiedSigmoid:
      return (1.2 * torch::sigmoid(v) - 0.1).clamp(0, 1);
    case RoundingKind::Sigmoid:
      return torch::sigmoid(v);
    case RoundingKind::Clamp:
      return v.clamp(0, 1);
    case RoundingKind::Sine:
      return 0.5 + 0.5 * torch::sin(v);
    case RoundingKind::Straight:
    case RoundingKind::FullSpace:
      break;
  }
  fail("this rounding variable has no h(v)");
}

Tensor rounding_start(RoundingKind kind, const Tensor& fraction) {
  switch (kind) {
    case RoundingKind::RectifiedSigmoid:
      return -torch::log(1.2 / (fraction + 0.1) - 1);
    case RoundingKind::Sigmoid:
      return torch::logit(fraction, 1e-6);
    case RoundingKind::Clamp:
      return fraction.clone();
    case RoundingKind::Sine:
      return torch::asin(2 * fraction - 1);
    case RoundingKind::Straight:
    case RoundingKind::FullSpace:
      break;
  }
  fail("this rounding variable has no h(v)");
}

Tensor rounding_penalty(const Tensor& h, double beta) {
  return 1 - (2 * h - 1).abs().pow(beta);
}

Tensor soft_staircase(const Tensor& u, double tau) {
  const auto middle = u.detach().floor() + 0.5;
  return middle + torch::tanh((u - middle) / tau) / (2 * std::tanh(1 / (2 * tau)));
}

RoundingVariable::RoundingVariable(RoundingKind kind, const WeightGrid& grid, const Tensor& weight, Tensor learned)
    : kind_(kind), grid_(grid), shape_(weight.sizes().vec()) {
  const auto w = weight.detach().flatten(1);
  require(w.size(0) == grid.levels.size(0), "a grid of {} rows does not fit a weight of {}", grid.levels.size(0),
          w.size(0));
  start_ = grid_.position(w);
  floor_ = grid_.below(start_).to(w.scalar_type());
  low_ = grid_.at(floor_);
  step_ = grid_.at(floor_ + 1) - low_;
  nearest_ = (start_ + 0.5).floor();
  learned_ = learned.defined() ? learned.flatten(1) : torch::Tensor{};
  Tensor v0;
  if (kind_ == RoundingKind::Straight)
    v0 = start_.clone();
  else if (kind_ == RoundingKind::FullSpace)
    v0 = torch::zeros_like(start_);
  else
    v0 = rounding_start(kind_, start_ - floor_);
  v = register_parameter("v", v0);
  log_scale = register_parameter("log_scale", torch::zeros({w.size(0), 1}, w.options()), /*requires_grad=*/false);
}

Tensor RoundingVariable::offset() const {
  const auto u = torch::maximum(start_ + v, torch::zeros_like(v));
  return torch::minimum(u, (grid_.count - 1).to(u.scalar_type()));
}

Tensor RoundingVariable::forward(const Tensor&) {
  Tensor w;
  if (kind_ == RoundingKind::Straight) {
    const auto u = torch::minimum(torch::maximum(v, torch::zeros_like(v)), (grid_.count - 1).to(v.scalar_type()));
    w = grid_.at(u + ((u + 0.5).floor() - u).detach());
  } else if (kind_ == RoundingKind::FullSpace) {
    w = grid_.at(soft_staircase(offset(), tau_));
  } else {
    w = low_ + rounding_h(kind_, v) * step_;
  }
  if (learned_.defined()) w = torch::where(learned_, w, grid_.at(nearest_));
  if (log_scale.requires_grad()) w = w * log_scale.exp();
  return w.view(shape_);
}

std::shared_ptr<TensorTransform> RoundingVariable::copy() const {
  const auto clone = [](const Tensor& t) { return t.defined() ? t.detach().clone() : t; };
  WeightGrid grid = grid_;
  for (Tensor* t : {&grid.levels, &grid.count, &grid.first, &grid.uniform.scale, &grid.uniform.zero_point})
    *t = clone(*t);
  auto made = std::make_shared<RoundingVariable>(kind_, grid, grid_.at(start_).view(shape_), clone(learned_));
  made->start_ = clone(start_);
  made->tau_ = tau_;
  copy_values(*this, *made);
  return made;
}

Tensor RoundingVariable::fraction() const {
  if (kind_ == RoundingKind::Straight) return {};
  if (kind_ != RoundingKind::FullSpace) return rounding_h(kind_, v);
  const auto u = offset();
  return u - u.detach().floor();
}

Tensor RoundingVariable::regularizer(double beta) const {
  const auto h = fraction();
  if (!h.defined()) return torch::zeros({}, v.options());
  const auto penalty = rounding_penalty(h, beta);
  return learned_.defined() ? (penalty * learned_).sum() : penalty.sum();
}

void RoundingVariable::anneal(double beta) {
  tau_ = std::max(0.05, 0.6 * (beta - 2) / 18);
}

double RoundingVariable::decided() const {
  const torch::NoGradGuard no_grad;
  const auto h = fraction();
  if (!h.defined()) return 1;
  const auto d = (2 * h - 1).abs();
  return (learned_.defined() ? d.masked_select(learned_) : d).mean().item<double>();
}

Tensor RoundingVariable::hard_position() const {
  const torch::NoGradGuard no_grad;
  Tensor p;
  if (kind_ == RoundingKind::Straight)
    p = torch::minimum((v + 0.5).floor().clamp_min(0), (grid_.count - 1).to(v.scalar_type()));
  else if (kind_ == RoundingKind::FullSpace)
    p = (offset() + 0.5).floor();
  else
    p = floor_ + (rounding_h(kind_, v) >= 0.5);
  return learned_.defined() ? torch::where(learned_, p, nearest_) : p;
}

Tensor RoundingVariable::shaped(const Tensor& position) const {
  return (position.to(torch::kLong) + grid_.first).to(torch::kInt).view(shape_);
}

Tensor RoundingVariable::codes() const {
  return shaped(hard_position());
}

Tensor RoundingVariable::nearest_codes() const {
  return shaped(nearest_);
}

Tensor RoundingVariable::floor_codes() const {
  return shaped(floor_);
}

WeightGrid RoundingVariable::grid() const {
  const torch::NoGradGuard no_grad;
  if (!log_scale.requires_grad()) return grid_;
  WeightGrid grid = grid_;
  const auto factor = log_scale.exp();
  require(grid.uniform.scale.defined(), "only the scales of uniform grids are learned");
  grid.uniform.scale = grid.uniform.scale * factor.flatten();
  // As dequantize() computes it, so that the weights are decoded codes to the last bit.
  const auto code = torch::arange(grid.levels.size(1), torch::kLong) + grid.first;
  grid.levels =
      (code - grid.uniform.zero_point.view({-1, 1})).to(factor.scalar_type()) * grid.uniform.scale.view({-1, 1});
  return grid;
}

Tensor RoundingVariable::hard() const {
  return grid().at(hard_position()).view(shape_);
}

Tensor RoundingVariable::nearest() const {
  return grid().at(nearest_).view(shape_);
}

}  // namespace quanta
