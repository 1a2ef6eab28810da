#pragma once

#include <torch/torch.h>

#include <memory>
#include <vector>

#include "quanta/quantize/weight_grid.h"

// What is learned when the rounding of weights is learned (AdaRound, arXiv 2004.10568, and its relatives): a variable
// for each weight that moves it between the levels of a grid, softly at first and hard in the end.

namespace quanta {

enum class RoundingKind {
  RectifiedSigmoid,  ///< h = clamp(1.2 sigmoid(v) - 0.1, 0, 1)
  Sigmoid,
  Clamp,      ///< h = clamp(v, 0, 1)
  Sine,       ///< h = 0.5 + 0.5 sin(v)
  Straight,   ///< the weight itself, in units of steps, rounded straight through: may reach any level
  FullSpace,  ///< an offset among the levels behind an annealed staircase: may reach any level (arXiv 2308.05600, C)
};

/// h(v) of the first four kinds, and the v with h(v) = fraction (at the ends the nearest finite one).
torch::Tensor rounding_h(RoundingKind kind, const torch::Tensor& v);
torch::Tensor rounding_start(RoundingKind kind, const torch::Tensor& fraction);
/// 1 - |2 h - 1|^beta, element by element: 1 where h is undecided, 0 where it is 0 or 1.
torch::Tensor rounding_penalty(const torch::Tensor& h, double beta);
/// floor(u) + 1/2 + tanh((u - floor(u) - 1/2) / tau) / (2 tanh(1 / (2 tau))): the identity for large tau, rounding for
/// tau -> 0.
torch::Tensor soft_staircase(const torch::Tensor& u, double tau);

/// Sits in a layer's weight slot while the rounding is learned. What it puts out starts as the weight clamped to the
/// grid (FullSpace: about that, Straight: rounded to nearest) and is driven to the levels by the regularizer.
class RoundingVariable : public TensorTransform {
 public:
  /// `learned` (bool, the weight's shape): the others are rounded to nearest. Undefined: all.
  RoundingVariable(RoundingKind kind, const WeightGrid& grid, const torch::Tensor& weight, torch::Tensor learned = {});
  /// The soft weight; x is not looked at.
  torch::Tensor forward(const torch::Tensor& x) override;
  std::shared_ptr<TensorTransform> copy() const override;

  /// Sum of penalties over the learned weights.
  torch::Tensor regularizer(double beta) const;
  /// Sets FullSpace's temperature; before, it is 1.
  void anneal(double beta);
  /// Mean of |2 h - 1|: 1 if all are decided.
  double decided() const;

  /// The hard codes (int32), the values they stand for, and those of rounding to nearest; the weight's shape.
  torch::Tensor codes() const;
  torch::Tensor hard() const;
  torch::Tensor nearest() const;
  torch::Tensor nearest_codes() const;
  /// The codes below the weights, clamped: what is rounded up or down by the first four kinds.
  torch::Tensor floor_codes() const;
  /// With the learned scale in it.
  WeightGrid grid() const;

  torch::Tensor v{};          ///< parameter [rows, n]
  torch::Tensor log_scale{};  ///< parameter [rows, 1]: the levels are multiplied by its exponential; starts at 0

 private:
  torch::Tensor offset() const;         // FullSpace: position before the staircase
  torch::Tensor fraction() const;       // h, or what stands for it
  torch::Tensor hard_position() const;  // whole numbers
  torch::Tensor shaped(const torch::Tensor& codes) const;

  RoundingKind kind_;
  WeightGrid grid_;
  std::vector<int64_t> shape_;
  torch::Tensor start_, floor_, low_, step_, nearest_, learned_;  // [rows, n]; positions but for low_ and step_
  double tau_ = 1;
};

}  // namespace quanta
