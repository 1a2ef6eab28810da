#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "quanta/nn/network.h"
#include "quanta/quantize/hessian.h"
#include "quanta/quantize/mixed_precision.h"
#include "quanta/train/trainer.h"

namespace quanta {

// Mixed precision by curvature: HAWQ (Dong et al., arXiv 1905.03696). The top eigenvalue of a block's own Hessian says
// how many bits the block needs relative to others, and with the quantization error when it is to be fine-tuned.

/// Layers that share a width.
struct HawqBlock {
  std::string name{};
  std::vector<std::string> layers{};
};
/// The network's named blocks and each layer outside of one, without what has no weights.
std::vector<HawqBlock> hawq_blocks(const Network& net);

/// One block of a plan. What comes behind `converged` is set by the assignment of bits.
struct HawqEntry {
  std::string name{};
  std::vector<std::string> layers{};
  int64_t weights = 0;      ///< n_i; biases and batch normalization do not count
  int64_t activations = 0;  ///< values that the block's rectifiers put out for a sample (its last layer's without one)
  double eigenvalue = 0;    ///< lambda_i, of the largest magnitude
  int iterations = 0;       ///< of the power iteration
  double change = 0;        ///< relative, at its end
  bool converged = false;
  int bits = 0;
  int activation_bits = 0;  ///< 0: not quantized
  double perturbation = 0;  ///< |Q(W) - W|^2
  bool operator==(const HawqEntry&) const = default;

  double sensitivity() const;  ///< S_i = |lambda_i| / n_i
  double omega() const;        ///< Omega_i = |lambda_i| |Q(W) - W|^2
};

struct HawqPlan {
  std::vector<HawqEntry> blocks{};
  bool operator==(const HawqPlan&) const = default;

  std::vector<int64_t> precision_order() const;  ///< blocks by descending S
  std::vector<int64_t> finetune_order() const;   ///< blocks by descending Omega
  ModelCost cost() const;
  nlohmann::json to_json() const;
  /// Error if it is no plan.
  static HawqPlan from_json(const nlohmann::json& json);
};

/// HAWQ's weight quantizer: symmetric, a scale for each output channel, codes of +-(2^(bits - 1) - 1).
torch::Tensor hawq_quantize(const torch::Tensor& weight, int bits);

/// Sizes and top eigenvalues of the blocks' Hessians of the mean cross-entropy over these samples. The network must be
/// in evaluation mode and unquantized. `pairs` gets what the power iterations found. Errors: training mode, a quantized
/// weight, an empty block, a layer that does not exist or is in two blocks, those of Hessian.
HawqPlan hawq_sensitivities(Network net, const std::vector<HawqBlock>& blocks, const torch::Tensor& inputs,
                            const torch::Tensor& classes, const PowerIteration& options = {}, int64_t batch = 256,
                            std::vector<Eigenpair>* pairs = nullptr);

/// Sets the bits of every block, never rising along the precision order: of those within the budget (average bits a
/// weight) the ones with the least sum of Omega_i; see monotone_bits(). `order` replaces the precision order, for
/// comparisons.
void assign_bits(HawqPlan& plan, const Network& net, const std::vector<int>& candidates, double average_bits,
                 std::vector<int64_t> order = {});
/// By hand: `cuts` (descending) are thresholds on log10 S; a block above the i-th gets the i-th largest candidate,
/// below all the least. One cut less than candidates.
void assign_bits_by_cuts(HawqPlan& plan, const Network& net, const std::vector<int>& candidates,
                         const std::vector<double>& cuts);
/// The same width for all.
void assign_uniform_bits(HawqPlan& plan, const Network& net, int bits);
/// Widths of the activations, never rising along the precision order, the most bits within the budget (average bits an
/// activation).
void assign_activation_bits(HawqPlan& plan, const std::vector<int>& candidates, double average_bits);

/// Puts the blocks' weight quantizers in, which follow the weights in training (straight-through).
void quantize_blocks(Network& net, const HawqPlan& plan);
/// Puts quantizers of the plan's activation bits behind the blocks' ReLUs: unsigned [0, a], a moving average of the
/// batches' maxima (momentum 0.99) in training mode. The data [N, ...] set a first range.
void quantize_block_activations(Network& net, const HawqPlan& plan, const torch::Tensor& data);

/// A copy for save_quantized() and the exports: batch normalizations folded, quantizers frozen. Folding multiplies the
/// rows of a weight, and their scales with them, so the codes are the ones of the network as it is.
Network finish_hawq(const Network& net, const HawqPlan& plan);

/// Which block is quantized, and trained, next.
enum class StageOrder { DescendingOmega, AscendingOmega, Forward, Backward, Random, AllAtOnce };
std::string_view stage_order_name(StageOrder order);  // "descending Omega"
enum class StageTrainable {
  CurrentAndLater,  ///< blocks of earlier stages are frozen
  Current,
  All,
};

struct StageOptions {
  StageOrder order = StageOrder::DescendingOmega;
  std::vector<int64_t> custom_order{};  ///< instead of `order`, a permutation of the blocks
  StageTrainable trainable = StageTrainable::CurrentAndLater;
  double epochs = 1;        ///< of each stage; below 1: of so large a part of the samples, another one each stage
  double final_epochs = 1;  ///< of all blocks together after the stages; of AllAtOnce the only ones
  double lr = 0.01;         ///< cosine to 0 in each stage
  double momentum = 0.9;
  double weight_decay = 1e-4;
  int batch = 64;
  uint64_t seed = 0;
  TrainOptions train{};  ///< for out, label, resume, config and augment; the rest is set from the above
};

struct StageResult {
  std::string block{};  ///< "all" for the joint pass
  History history{};
  double accuracy = 0;  ///< what `evaluate` said after the stage; NaN without
};

/// Fine-tunes block by block: switches a block's quantizer on, trains, goes on to the next. Quantizers of activations
/// that are in place stay on. Stops after an interrupted stage. The network ends in evaluation mode with all quantizers
/// in. Errors: a plan without bits, an order that is no permutation, those of train_classifier.
std::vector<StageResult> finetune_blockwise(Network& net, const HawqPlan& plan, const Examples& train,
                                            const StageOptions& options = {},
                                            const std::function<double()>& evaluate = {});

}  // namespace quanta
