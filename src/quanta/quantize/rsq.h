#pragma once

#include <torch/torch.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "quanta/quantize/layerwise_method.h"
#include "quanta/quantize/rotate.h"
#include "quanta/quantize/token_importance.h"
#include "quanta/quantize/vector_grid.h"

namespace quanta {

/// Bits of what flows through a block, on symmetric grids set anew for every token; 0 leaves it float.
struct FlowBits {
  int activations = 0;  ///< inputs of the linear layers, behind online rotations
  int keys = 0;         ///< each head's, after the rotary positions and RotateOptions::keys
  int values = 0;       ///< all heads' together (of each head where one layer makes queries, keys and values)
};
/// Puts the quantizers into the block's slots, behind what is there.
void quantize_flow(DecoderBlock& block, const FlowBits& bits);

struct RsqOptions {
  AffineGridOptions grid{.bits = 3, .kind = AffineKind::Signed, .search = true};
  std::shared_ptr<const GridRule> rule{};  ///< instead of `grid`, say the blocks of a file format
  bool e8p = false;                        ///< E8P by LDLQ instead of `grid`, 2 bits a weight
  bool int8_down = false;                  ///< the MLP's last layer on `grid` with 8 bits

  std::optional<RotateOptions> rotation = RotateOptions{};
  std::optional<ImportanceOptions> importance = ImportanceOptions{};  ///< none: QuaRot
  /// H = 2 sum_t r_t^power x_t x_t': 1 as in the released code, 2 as in the paper's formula.
  int power = 1;
  std::vector<std::string> apply_to{};  ///< layers whose tokens are weighted, by the ends of their paths; empty: all

  GptqOptions gptq{};
  LdlqOptions ldlq{};
  bool true_sequential = true;
  FlowBits flow{};  ///< put in once a block's weights are quantized
};

/// RSQ: rotate the model, scale its tokens by their importance, quantize with the second moments of the scaled tokens
/// (arXiv 2503.01820). Without importance it is QuaRot with GPTQ (arXiv 2404.00456), without rotation too it is GPTQ.
class RsqMethod : public LayerwiseMethod {
 public:
  /// Errors for options out of range.
  explicit RsqMethod(const RsqOptions& options);
  std::string name() const override;
  nlohmann::json settings() const override;
  void check(const LanguageConfig& config) const override;
  void prepare(LanguageModel& ends) override;
  void prepare(DecoderBlock& block, int64_t index) override;
  std::vector<LayerResult> quantize(std::vector<DecoderBlock>& blocks, const BlockInputs& inputs) override;

 protected:
  bool weighs_tokens() const override { return importance_.has_value(); }
  bool weighs_tokens_of(const std::string& path) const override;
  torch::Tensor importance(DecoderBlock& block, int64_t first, const torch::Tensor& h,
                           const torch::Tensor& tokens) override;
  LayerResult solve(const std::string& path, const torch::Tensor& weight, const torch::Tensor& hessian) override;
  const GridRule& rule(const std::string& path) const override;

 private:
  const Rotation& rotation(const LanguageConfig& config);

  RsqOptions options_;
  AffineGrid grid_, wide_;
  std::optional<TokenImportance> importance_;
  std::optional<Rotation> rotation_;
};

/// r [count, T] to the power, and then such that a sequence's weights have the mean 1: sequences of other lengths and
/// sharper importances weigh the same in a Hessian. float32.
torch::Tensor token_weights(const torch::Tensor& r, int power);

}  // namespace quanta
