#pragma once

#include <torch/torch.h>

#include "quanta/quantize/affine_grid.h"

namespace quanta {

/// A weight [N, K] as codes on a grid: what a method makes and a file holds.
struct QuantizedMatrix {
  int bits = 0;           ///< of a code
  torch::Tensor codes{};  ///< uint8 [N, K], columns in their own order
  RowGrid grid{};
  torch::Tensor g_idx{};  ///< int32 [K]: the group of each column; undefined: k / group

  /// The float32 weight, the same bits each time.
  torch::Tensor dequantize() const { return quanta::dequantize(codes, grid, g_idx).to(torch::kFloat32); }
};

}  // namespace quanta
