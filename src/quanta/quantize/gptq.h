#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <vector>

#include "quanta/quantize/affine_grid.h"

namespace quanta {

/// Which weights a group's levels are fitted to when GPTQ reaches it.
enum class GroupStats {
  Current,     ///< the weights with the errors of all columns before
  BlockStart,  ///< as they were when the block of columns began, as in the released code
};

struct GptqOptions {
  int64_t block = 128;     ///< columns between two updates of all that follow; changes speed, not the result
  double damping = 0.01;   ///< lambda over the mean of H's diagonal
  int raises = 6;          ///< how often lambda may be doubled where H + lambda I is not positive definite
  bool act_order = false;  ///< columns by falling diagonal of H instead of from left to right
  /// Groups hold neighbouring columns of the given weight and their levels are fitted to it; otherwise they are made
  /// along the order of the columns, and of the weights then.
  bool static_groups = false;
  GroupStats group_stats = GroupStats::Current;
};

struct GptqResult {
  torch::Tensor codes{};            ///< uint8 [N, K]
  RowGrid grid{};                   ///< levels, see dequantize(codes, grid, g_idx)
  torch::Tensor g_idx{};            ///< int32 [K]: the group of each column; undefined: k / group
  torch::Tensor weight{};           ///< [N, K]: the levels the codes stand for
  torch::Tensor row_loss{};         ///< float64 [N]: of each row of W - weight, d (H + lambda I) d'; of rtn() undefined
  double loss = 0;                  ///< their sum
  double damping = 0;               ///< lambda over the mean of H's diagonal, as used
  std::vector<int64_t> dead{};      ///< columns without input (H_kk = 0); their weights became 0
  std::vector<int64_t> troubled{};  ///< columns at which H with the damping asked for is not positive definite
  std::vector<int64_t> alone{};     ///< those that were rounded to nearest for it: no errors to them nor from them
};

/// Rounds W [N, K] column by column, pushing each column's error into the columns not yet rounded such that
/// tr((W - Q) (H + lambda I) (W - Q)') stays small (arXiv 2210.17323). H [K, K] is InputHessian's; its scale does not
/// matter but for the losses. Computes in float64 if W is float64, else in float32. There is a result for every H of
/// numbers (see inverse_factor.h), and it does not depend on the number of threads. Errors: sizes that do not fit, NaN
/// or infinity in W or H, options out of range.
GptqResult gptq(const torch::Tensor& w, const torch::Tensor& h, const GridRule& rule, const GptqOptions& options = {});

/// Each weight's nearest level.
GptqResult rtn(const torch::Tensor& w, const GridRule& rule);

/// tr(D H D'), D = W - Q: the error a layer's outputs get, up to H's scale. float64.
double output_error(const torch::Tensor& w, const torch::Tensor& q, const torch::Tensor& h);

}  // namespace quanta
