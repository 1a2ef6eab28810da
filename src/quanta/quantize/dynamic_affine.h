#pragma once

#include <torch/torch.h>

#include "quanta/quantize/quantized_matrix.h"
#include "quanta/quantize/stored_transform.h"

namespace quanta {

/// A uniform grid of 2^bits levels over each row's own range, set anew whenever the row is seen; a row is the last
/// dimension: a token's channels, an output's weights.
struct DynamicAffineOptions {
  int bits = 8;            ///< 1 to 16, symmetric 2 to 16
  bool symmetric = false;  ///< the range is that of the largest magnitude, and 0 a level
};

/// x^ = scale (code - zero), code in 0 .. 2^bits - 1.
struct DynamicGrid {
  torch::Tensor scale{};  ///< [..., 1] in [1e-5, 1e4]
  torch::Tensor zero{};   ///< [..., 1] whole numbers; outside the codes' range if 0 is outside the row's
};

/// scale = (max - min) / (2^b - 1), zero = round(-min / scale), without widening the range to hold 0; symmetric: scale
/// = max |x| / (2^(b-1) - 1), zero = 2^(b-1) - 1 (QLLM, arXiv 2310.08041). Gradients reach x through min and max.
DynamicGrid dynamic_grid(const torch::Tensor& x, const DynamicAffineOptions& options);

/// clamp(round(x / scale) + zero, 0, 2^bits - 1), as floating-point numbers.
torch::Tensor dynamic_codes(const torch::Tensor& x, const DynamicGrid& grid, int bits);

/// x^ of each row. Rounding passes gradients straight through; the clamp and the scale differentiate as they are.
torch::Tensor dynamic_affine(const torch::Tensor& x, const DynamicAffineOptions& options);

/// dynamic_affine() in a slot: activations whose range no calibration fixes. (DynamicQuantizer's grids hold 0, as
/// integer networks need it, and its gradient ignores them.) Kind "dynamic".
class DynamicAffine : public StoredTransform {
 public:
  explicit DynamicAffine(const DynamicAffineOptions& options);
  torch::Tensor forward(const torch::Tensor& x) override { return dynamic_affine(x, options_); }
  std::shared_ptr<TensorTransform> copy() const override { return std::make_shared<DynamicAffine>(options_); }
  nlohmann::json spec() const override;
  const DynamicAffineOptions& options() const { return options_; }

 private:
  DynamicAffineOptions options_;
};

/// The codes of a weight [N, K], a grid a row (2 to 8 bits); its dequantize() is dynamic_affine(weight), bit for bit.
QuantizedMatrix quantize_rows(const torch::Tensor& weight, const DynamicAffineOptions& options);

}  // namespace quanta
