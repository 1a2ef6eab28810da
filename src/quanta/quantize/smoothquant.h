#pragma once

#include <vector>

#include "quanta/quantize/block_method.h"
#include "quanta/quantize/low_bits.h"

namespace quanta {

struct SmoothQuantOptions {
  LowBits bits{.weights = {.bits = 8, .symmetric = true}, .activations = {.bits = 8, .symmetric = true}};
  double alpha = 0.5;     ///< [0, 1]: 1 moves all of the activations' range into the weights
  bool attention = true;  ///< queries, keys and values get the activations' grids, too
};

/// s_j = max |x_j|^alpha / max |W_j|^(1 - alpha) [K], at least 1e-5, for activations' largest magnitudes m [K] and the
/// rows of all layers that read them, W [N, K] (arXiv 2211.10438, equation 4).
torch::Tensor smoothing_factors(const torch::Tensor& m, const torch::Tensor& weight, double alpha);

/// SmoothQuant (arXiv 2211.10438): outliers move from activations into the weights, by factors that are folded into the
/// norms before q, k, v and before the MLP; then weights have a grid a row and activations a grid a token.
class SmoothQuantMethod : public BlockMethod {
 public:
  /// Error for options out of range.
  explicit SmoothQuantMethod(const SmoothQuantOptions& options = {});
  std::string name() const override { return "smoothquant"; }
  nlohmann::json settings() const override;
  std::vector<LayerResult> quantize(std::vector<DecoderBlock>& blocks, const BlockInputs& inputs) override;

 private:
  SmoothQuantOptions options_;
};

}  // namespace quanta
