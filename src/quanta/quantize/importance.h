#pragma once

#include <map>
#include <string>
#include <vector>

#include "quanta/nn/network.h"
#include "quanta/quantize/gradient_ptq.h"
#include "quanta/train/trainer.h"

// How much each weight matters to the task, and from that how many bits each row (output channel) or layer gets
// (arXiv 2308.07662; the exact measures are ours).

namespace quanta {

enum class Importance {
  Taylor,     ///< I = mean over samples of sum (w g)^2; costs I 4^-bits
  Fisher,     ///< costs sum F (w^ - w)^2 with F = mean over samples of g^2, w^ rounded to nearest with so many bits
  Magnitude,  ///< I = sum w^2, as a control
  Random,     ///< as a control
};
/// "taylor", "fisher", "magnitude", "random"; UsageError for others.
Importance parse_importance(std::string_view name);

/// Mean over the samples of each sample's squared gradient of the loss of the float network, for every quantizable
/// layer's weight. The loss is the cross-entropy if the examples have labels (int64). Otherwise it is the squared error
/// to the network's own outputs, whose gradient is 0; its curvature is that of random signs times the outputs.
std::map<std::string, torch::Tensor> squared_gradients(const Network& net, const Examples& examples, uint64_t seed = 0);

struct MixedPrecisionOptions {
  Importance importance = Importance::Fisher;
  std::vector<int> bits{2, 3, 4};  ///< widths to choose from, ascending
  double average = 3;              ///< bits a weight, over all inner layers
  bool by_layer = false;           ///< one width a layer instead of a row
  bool binary = false;    ///< the most important rows get the highest width, the others the lowest; for comparison
  bool inverted = false;  ///< with binary: the least important ones; a control
  GridOptions grid{};
  uint64_t seed = 0;  ///< of Random
};

struct MixedPrecision {
  RowBits widths{};         ///< for GradientPtqOptions::widths
  double average_bits = 0;  ///< a weight
  double cost = 0;          ///< as expected by the measure
};

/// Widths for the rows of the inner layers (all but the first and the last) by greedy_bits(). `gradients` are
/// squared_gradients() of the network with its batch normalization folded, which names and shapes must fit; Random and
/// Magnitude do not look at them. Errors: an average below the lowest or above the highest width, gradients missing.
MixedPrecision mixed_precision(const Network& folded, const std::map<std::string, torch::Tensor>& gradients,
                               const MixedPrecisionOptions& options);

/// The rows of widths in the order of their bits, highest first, equal ones in their own order: the permutation that
/// puts rows of one width side by side.
std::vector<int64_t> rows_by_width(const std::vector<int>& widths);

}  // namespace quanta
