#pragma once

#include <torch/torch.h>

#include <utility>

#include "quanta/quantize/uniform.h"

namespace quanta {

/// How often values of each size were seen: 2048 bins of equal width on each side of 0, and zeros apart. When a value
/// lies beyond the last bin, the bins' width doubles until it does not: neighbours are joined, so nothing is smeared.
/// The tensors are all its state and keep their shapes; an observer registers them as buffers.
struct Histogram {
  static constexpr int64_t kBins = 2048;

  /// Error for NaN, infinity, no values.
  void add(const torch::Tensor& x);
  bool empty() const { return extremes[0].item<double>() > extremes[1].item<double>(); }

  /// The middle share of the values, the rest split evenly between the ends; linear within a bin.
  std::pair<double, double> percentile_range(double share) const;
  /// Of the whole range times 1, 0.99 ... 0.01 the one with the least mean |x - x^|^norm for the grid.
  std::pair<double, double> mse_range(const UniformOptions& grid) const;
  /// The threshold T for |x| whose histogram, cut there (what lies beyond joins the last bin), diverges least from the
  /// same in as many levels as the grid has for |x| (8-bit calibration, S. Migacz, GTC 2017). Zeros do not count.
  std::pair<double, double> kl_range(const UniformOptions& grid) const;

  torch::Tensor counts = torch::zeros({2, kBins}, torch::kFloat64);  ///< of negative and of positive values, from 0 on
  torch::Tensor zeros = torch::zeros({1}, torch::kFloat64);
  torch::Tensor limit = torch::zeros({1}, torch::kFloat64);  ///< the last bin's end
  torch::Tensor extremes =
      torch::tensor({1.0, -1.0}, torch::kFloat64);  ///< least and greatest value; [1, -1]: none yet
};

}  // namespace quanta
