#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "quanta/core/random.h"
#include "quanta/nn/network.h"
#include "quanta/quantize/rounding_variable.h"
#include "quanta/quantize/update_rule.h"

// Gradient-based post-training quantization (arXiv 2308.07662): the rounding of a unit's weights, and the steps of its
// activations, are learned so that the unit's output on calibration data stays that of the float network. AdaRound
// (arXiv 2004.10568), BRECQ (2102.05426) and QDrop (2203.05740) are settings of this one engine.

namespace quanta {

/// What is compared with the float output: summed over the channels, averaged over samples and positions.
enum class ReconstructionLoss {
  L2,
  L1,
  Huber,   ///< quadratic below 1
  Lp,      ///< |difference|^p
  Cosine,  ///< 1 - cosine of the angle between the channels of a position
  Kl,      ///< divergence of the softmax over the channels, for a network's output
};

/// New calibration samples made of the cached ones; the target is what the float unit makes of them.
enum class FeatureAugmentation {
  None,
  Noise,   ///< Gaussian, of 0.05 standard deviations of the inputs
  Mixup,   ///< of two samples, the share uniform
  CutOut,  ///< 10 % of the elements' positions are set to 0
};

/// Which weights are learned; the others are rounded to nearest.
enum class WeightSelection {
  All,
  Random,
  Largest,    ///< in magnitude
  Undecided,  ///< half way between two levels
};

enum class RateSchedule { Constant, Cosine };

struct ReconstructOptions {
  GridOptions grid{};
  RoundingKind variable = RoundingKind::RectifiedSigmoid;

  ReconstructionLoss loss = ReconstructionLoss::L2;
  double p = 2.4;        ///< of Lp
  bool fisher = false;   ///< differences are weighted by UnitData::gradient
  double lambda = 0.01;  ///< of the penalty, which is summed over the weights
  double beta0 = 20;     ///< the penalty's exponent falls linearly from beta0 ...
  double beta1 = 2;      ///< ... to beta1
  double warmup = 0.2;   ///< share of the steps before that, without penalty

  UpdateRule optimizer = UpdateRule::Adam;
  double rate = 1e-3;             ///< of the rounding variables
  double activation_rate = 4e-5;  ///< of the activations' steps, along half a cosine
  double other_rate = 1e-3;       ///< of biases and scales
  RateSchedule schedule = RateSchedule::Constant;
  int64_t steps = 20000;
  int64_t batch = 32;

  double drop = 1;  ///< an element of the input, or of an activation, is the quantized one with this probability
  FeatureAugmentation augment = FeatureAugmentation::None;
  WeightSelection select = WeightSelection::All;
  double selected = 0.25;  ///< share of the weights that is learned, unless all are
  bool learn_bias = false;
  bool learn_scale = false;  ///< of the weights, one a row
  uint64_t seed = 0;
};

/// Cached values of a unit; all [N, ...].
struct UnitData {
  torch::Tensor quantized{};            ///< input, from the units before, which are quantized
  torch::Tensor reference{};            ///< input in the float network
  torch::Tensor target{};               ///< output of the float network
  torch::Tensor gradient{};             ///< of the task's loss (a sample) with respect to it; for the Fisher option
  std::shared_ptr<NetworkImpl> unit{};  ///< the float unit; for augmentation
};

struct ReconstructReport {
  double loss_nearest = 0;  ///< with weights rounded to nearest; over all samples, without drop and penalty
  double loss = 0;          ///< with the learned weights, likewise
  double changed = 0;       ///< share of weights whose code is not the nearest
  double decided = 1;       ///< mean |2 h - 1| before hardening
  torch::Tensor output{};   ///< of the quantized unit for all samples
};

/// Bits of the rows of layers: one number, or one a row.
using RowBits = std::map<std::string, std::vector<int>>;

/// Learns the rounding of every layer of the unit that `bits` names and whose weight slot is empty, and the step of
/// every learned UniformQuantizer (in a FakeQuantize) in its slots, both in place. Afterwards the layers' weights are
/// the rounded ones, and their weight slots hold quantizers that change no bit of them.
///
/// Errors: no samples, values that do not fit, an output whose shape depends on the batch otherwise than in dimension
/// 0, options out of range, Fisher without gradients, a loss that is not finite.
ReconstructReport reconstruct(NetworkImpl& unit, const UnitData& data, const ReconstructOptions& options,
                              const RowBits& bits);

/// Whether reconstruct() would learn anything, given bits for all layers.
bool anything_to_learn(NetworkImpl& unit);

/// The loss alone. Channels are dimension 1 of four, else the last. `gradient` may be undefined.
torch::Tensor reconstruction_loss(const torch::Tensor& output, const torch::Tensor& target,
                                  const ReconstructOptions& options, const torch::Tensor& gradient = {});

/// bool; each element is true with probability p (to 2^-16), independently.
torch::Tensor random_mask(torch::IntArrayRef shape, double p, Random& random);

/// Rounds weights to nearest in place: what reconstruct() leaves without learning.
void round_to_nearest(QuantizableLayer& layer, const std::vector<int>& bits, const GridOptions& grid);

/// forward() in chunks, without gradients.
torch::Tensor run_in_batches(NetworkImpl& net, const torch::Tensor& x, const NetworkImpl::Visitor& visit = {});

}  // namespace quanta
