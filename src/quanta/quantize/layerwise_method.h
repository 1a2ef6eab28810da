#pragma once

#include <torch/torch.h>

#include <memory>
#include <string>
#include <vector>

#include "quanta/quantize/block_method.h"
#include "quanta/quantize/gptq.h"
#include "quanta/quantize/input_hessian.h"

namespace quanta {

/// Methods that quantize one linear layer after the other from the second moments of its inputs: round to nearest,
/// GPTQ, and RSQ, which weights the tokens.
class LayerwiseMethod : public BlockMethod {
 public:
  /// `true_sequential`: later layers of a block see what the quantized earlier ones put out; otherwise one pass
  /// through the float block serves all its layers.
  explicit LayerwiseMethod(bool true_sequential) : true_sequential_(true_sequential) {}

  std::vector<LayerResult> quantize(std::vector<DecoderBlock>& blocks, const BlockInputs& inputs) override;
  int64_t memory(const LanguageConfig& config) const override;
  int64_t least_memory(const LanguageConfig& config) const override;
  int64_t workspace(const LanguageConfig& config) const override;
  double operations(const LanguageConfig& config, int64_t tokens) const override;

 protected:
  /// The layer's weight [N, K] and its inputs' Hessian [K, K] (undefined without data) -> codes and what there is to
  /// say about them; block, layer, errors and seconds are filled in by the caller.
  virtual LayerResult solve(const std::string& path, const torch::Tensor& weight, const torch::Tensor& hessian) = 0;
  /// The rule by which the layer's grid is made, to compare with rounding to nearest.
  virtual const GridRule& rule(const std::string& path) const = 0;

  /// Whether importance() says anything.
  virtual bool weighs_tokens() const { return false; }
  /// Whether what it says holds for a layer. Layers of a stage for which it does and others need two Hessians.
  virtual bool weighs_tokens_of(const std::string& /*path*/) const { return weighs_tokens(); }
  /// Importance r [count, T] of the tokens of some sequences for all layers of the block, before any of them is
  /// quantized; h [count, T, width] its inputs.
  virtual torch::Tensor importance(DecoderBlock& /*block*/, int64_t /*first*/, const torch::Tensor& /*h*/,
                                   const torch::Tensor& /*tokens*/) {
    return {};
  }

  bool true_sequential_;
};

/// Rounds every weight to the nearest level of its grid.
class RoundToNearest : public LayerwiseMethod {
 public:
  explicit RoundToNearest(std::shared_ptr<const GridRule> rule) : LayerwiseMethod(false), rule_(std::move(rule)) {}
  std::string name() const override { return "rtn"; }
  nlohmann::json settings() const override { return {{"grid", rule_->describe()}}; }
  bool needs_data() const override { return false; }

 protected:
  LayerResult solve(const std::string& path, const torch::Tensor& weight, const torch::Tensor& hessian) override;
  const GridRule& rule(const std::string&) const override { return *rule_; }

 private:
  std::shared_ptr<const GridRule> rule_;
};

/// GPTQ (arXiv 2210.17323).
class GptqMethod : public LayerwiseMethod {
 public:
  GptqMethod(std::shared_ptr<const GridRule> rule, const GptqOptions& options, bool true_sequential);
  std::string name() const override { return "gptq"; }
  nlohmann::json settings() const override;

 protected:
  LayerResult solve(const std::string& path, const torch::Tensor& weight, const torch::Tensor& hessian) override;
  const GridRule& rule(const std::string&) const override { return *rule_; }

  std::shared_ptr<const GridRule> rule_;
  GptqOptions options_;
};

/// A solver's result as a layer's.
LayerResult layer_result(GptqResult result);

}  // namespace quanta
