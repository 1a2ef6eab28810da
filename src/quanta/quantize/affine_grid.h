#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <string>

namespace quanta {

/// The values that a weight [N, K] may take: in each row, for each group of consecutive columns, up to 256 levels.
struct RowGrid {
  int64_t group = 0;              ///< columns that share their levels; the last group may have fewer
  int levels = 0;                 ///< codes are 0 .. levels - 1
  torch::Tensor scale{}, zero{};  ///< [N, G], G = ceil(K / group): w^ = scale (q - zero) + offset
  torch::Tensor offset{};         ///< [N, G]; undefined: 0
  /// [N, G, levels], ascending, if the levels are not evenly spaced: w^ = values[q]. Of a ternary grid `scale` is the
  /// greatest level and `zero` the least, of NormalFloat `scale` what the table is multiplied by.
  torch::Tensor values{};
};

/// Codes uint8 [N, K] of the levels nearest to w [N, K], and back (float32, or the type of the grid's tensors).
/// Ties go to the even code, on uneven levels to the value nearer to 0. `group_of` (integers [K]) says which group a
/// column belongs to; undefined: k / group. Errors: sizes that do not fit the grid.
torch::Tensor quantize(const torch::Tensor& w, const RowGrid& grid, const torch::Tensor& group_of = {});
torch::Tensor dequantize(const torch::Tensor& codes, const RowGrid& grid, const torch::Tensor& group_of = {});

/// How levels are chosen for weights. GPTQ solves for any such rule, so a file format's own blocks are one, too.
class GridRule {
 public:
  virtual ~GridRule() = default;
  /// The levels for w [N, n], float32 or float64, contiguous; n is span(), less at a row's end, or all columns.
  virtual RowGrid fit(const torch::Tensor& w) const = 0;
  /// Columns whose levels are chosen together, a multiple of RowGrid::group; 0: all of them.
  virtual int64_t span() const = 0;
  virtual std::string describe() const = 0;
};

enum class AffineKind {
  Asymmetric,   ///< from the least to the greatest weight and 0; zero point round(-low / scale)
  Symmetric,    ///< 2^b levels, scale 2 max|w| / (2^b - 1), zero point 2^(b-1)
  Signed,       ///< 2^b levels, scale max|w| / (2^(b-1) - 1), zero point 2^(b-1) (arXiv 2503.01820)
  Ternary,      ///< the least weight, 0 and the greatest; `bits` is not used
  NormalFloat,  ///< quantiles of the normal distribution, one of them 0, times max|w| (arXiv 2305.14314)
};

struct AffineGridOptions {
  int bits = 4;  ///< 2 to 8
  AffineKind kind = AffineKind::Asymmetric;
  int64_t group = -1;  ///< columns; -1: the whole row
  /// Of the ranges p (low, high), p = 1, 0.99 ... 0.21, takes the one with the least sum |w^ - w|^norm.
  bool search = false;
  double norm = 2.4;
  bool half_scales = false;  ///< scales (of ternary grids: levels) are float16 numbers, as in files
};

/// Grids for weights from their range (arXiv 2210.17323). Ranges include 0, which is a level. Where the released code
/// leaves the symmetric grid of weights that are all positive at half its range, this one covers it.
class AffineGrid : public GridRule {
 public:
  /// Error for bits outside 2 to 8 and for a group that is neither -1 nor positive.
  explicit AffineGrid(const AffineGridOptions& options = {});
  RowGrid fit(const torch::Tensor& w) const override;
  int64_t span() const override { return options_.group < 0 ? 0 : options_.group; }
  std::string describe() const override;
  const AffineGridOptions& options() const { return options_; }
  /// Storage for each weight, with scales of 16 bits and zero points of `bits`.
  double bits_per_weight(int64_t columns) const;

 private:
  AffineGridOptions options_;
};

/// The 2^bits levels of NormalFloat, ascending, from -1 to 1.
std::vector<double> normal_float_levels(int bits);

}  // namespace quanta
