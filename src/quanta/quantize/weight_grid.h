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
  Power,  ///< codes of sign(w) |w|^a are uniform (PowerQuant; arXiv 2308.05600), symmetric
  Log,    ///< zero and powers of two below the largest magnitude, symmetric
};

/// The values the weights of each row (output channel) may take.
struct WeightGrid {
  torch::Tensor levels{};  ///< [rows, L], ascending
  torch::Tensor count{};   ///< int64 [rows, 1]: the row uses its first so many levels, at least 2
  torch::Tensor first{};   ///< int64 [rows, 1]: the code of the row's first level
  GridScheme scheme = GridScheme::Uniform;
  QuantParams uniform{};  ///< of a uniform grid: its parameters, wide enough for every row; else without scale

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
  double exponent = 0;  ///< of Power, in (0, 2]; 0: searched for the layer
};

/// The grid for a weight [rows, ...] with bits[row] bits in each row, or if there is one number, with that many in all.
/// Errors: bits outside [1, 8] (Power, Log: [2, 8]), a number of widths that is not that of the rows.
WeightGrid weight_grid(const torch::Tensor& weight, const std::vector<int>& bits, const GridOptions& options = {});
/// The grid of given parameters with a scale for each of `rows`.
WeightGrid uniform_grid(const QuantParams& params, int64_t rows);
/// The exponent in [0.2, 1.2] with the least error |W - W^| of the power grid (arXiv 2308.05600, B).
double search_exponent(const torch::Tensor& weight, int bits);

/// Quantizer of weights on a grid that is not uniform, given as a table of levels for each row: encode() takes the
/// nearest level, gradients pass where x lies between the row's first and last level.
class LevelQuantizer : public Quantizer {
 public:
  explicit LevelQuantizer(int bits, const GridOptions& options = {.scheme = GridScheme::Power});
  void fit(const torch::Tensor& x) override { set_grid(weight_grid(x, {bits_}, options_)); }
  void set_grid(const WeightGrid& grid);
  torch::Tensor encode(const torch::Tensor& x) const override;
  torch::Tensor decode(const torch::Tensor& codes) const override;
  torch::Tensor forward(const torch::Tensor& x) override;
  std::shared_ptr<TensorTransform> copy() const override;
  int bits() const override { return bits_; }
  std::string describe() const override;

 private:
  WeightGrid grid() const;

  int bits_;
  GridOptions options_;
  torch::Tensor levels_{}, count_{}, first_{};  // buffers
};

/// What a weight slot holds when its weight lies on the grid: a FakeQuantize if it is uniform, else a LevelQuantizer.
std::shared_ptr<TensorTransform> grid_quantizer(const WeightGrid& grid);

}  // namespace quanta
