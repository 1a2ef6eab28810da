#pragma once

#include <memory>
#include <vector>

#include "quanta/quantize/affine_grid.h"
#include "quanta/quantize/block_method.h"

namespace quanta {

struct AwqOptions {
  int steps = 20;    ///< exponents alpha = 0, 1 / steps ... (steps - 1) / steps
  bool clip = true;  ///< ranges of weights are searched, too
};

/// Factors s [K] of a stage's channels and what they leave of its error.
struct AwqScales {
  torch::Tensor s{};
  double alpha = 0;
  double loss = 0;          ///< sum over the layers of ||(Q(W s) / s - W) X||^2
  double rounded_loss = 0;  ///< with s = 1
};

/// s = mean |x|^alpha over the square root of its extremes' product, of the alpha with the least loss (arXiv
/// 2306.00978, equation 4): activations' mean magnitudes [K], the weights [N, K] of the layers that read them, H [K, K]
/// their inputs' second moments.
AwqScales search_scales(const torch::Tensor& magnitudes, const std::vector<torch::Tensor>& weights,
                        const torch::Tensor& h, const GridRule& rule, int steps);

/// The weight [N, K] with each group's values limited to a share 1, 0.95 ... 0.55 of its largest magnitude, the share
/// with the least error of the group's own contribution to the outputs. The weight itself if that is no better.
torch::Tensor clip_weight(const torch::Tensor& weight, const torch::Tensor& h, const GridRule& rule);

/// AWQ (arXiv 2306.00978): channels that matter because their activations are large get finer grids, by factors that
/// are folded into what makes the channels; weights only, on grids by group.
class AwqMethod : public BlockMethod {
 public:
  /// `rule`: the weights' grids, usually AffineGrid({.bits = 4, .group = 128}). Error for options out of range.
  explicit AwqMethod(std::shared_ptr<const GridRule> rule, const AwqOptions& options = {});
  std::string name() const override { return "awq"; }
  nlohmann::json settings() const override;
  int64_t memory(const LanguageConfig& config) const override;
  double operations(const LanguageConfig& config, int64_t tokens) const override;
  void check(const LanguageConfig& config) const override;
  std::vector<LayerResult> quantize(std::vector<DecoderBlock>& blocks, const BlockInputs& inputs) override;

 private:
  std::shared_ptr<const GridRule> rule_;
  AwqOptions options_;
};

}  // namespace quanta
