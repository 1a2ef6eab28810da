#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "quanta/quantize/uniform.h"

// Grids for weights, uniform or not, row by row, and also with another number of bits in each row.

namespace quanta {

enum class GridScheme {
  Uniform,
  Power,  ///< PowerQuantizer
  Log,    ///< PowerOfTwoQuantizer
};

/// The values the weights of each row (output channel) may take.
struct WeightGrid {
  torch::Tensor levels{};  ///< [rows, L], ascending
  torch::Tensor count{};   ///< int64 [rows, 1]: the row uses its first so many levels, at least 2
  torch::Tensor first{};   ///< int64 [rows, 1]: the code of the row's first level
  QuantParams uniform{};   ///< of a uniform grid: its parameters, wide enough for every row; else without scale
  std::shared_ptr<Quantizer> quantizer{};  ///< of another grid, fitted

  /// Where w [rows, n] lies among its row's levels: 0 is the first, 2.5 half way between the third and the fourth;
  /// linear between levels, clamped to the row's.
  torch::Tensor position(const torch::Tensor& w) const;
  /// The level at or below a position (int64), such that there is one above.
  torch::Tensor below(const torch::Tensor& p) const;
  /// The inverse of position(); gradients reach p. A whole position gives the very level.
  torch::Tensor at(const torch::Tensor& p) const;
};

struct GridOptions {
  GridScheme scheme = GridScheme::Uniform;
  /// Of uniform grids; bits and axis are set by weight_grid().
  UniformOptions uniform{.symmetric = true, .range = RangeMethod::Mse, .norm = 2.4};
  double exponent = 0;  ///< of Power, in (0, 1.2]; 0: searched for the layer
};

/// The grid for a weight [rows, ...] with bits[row] bits in each row, or if there is one number, with that many in all.
/// Errors: bits outside [1, 8], a number of widths that is not that of the rows, several widths on a grid that is not
/// uniform; others as the quantizers'.
WeightGrid weight_grid(const torch::Tensor& weight, const std::vector<int>& bits, const GridOptions& options = {});
/// The grid of given parameters with a scale for each of `rows`.
WeightGrid uniform_grid(const QuantParams& params, int64_t rows);
/// What a weight slot holds when its weight lies on the grid: a FakeQuantize if it is uniform, else the grid's
/// quantizer.
std::shared_ptr<TensorTransform> grid_quantizer(const WeightGrid& grid);

}  // namespace quanta
