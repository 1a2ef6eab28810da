#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "quanta/nn/network.h"
#include "quanta/quantize/reconstruct.h"
#include "quanta/train/trainer.h"

namespace quanta {

/// Published settings of the engine, and those to begin with.
enum class PtqPreset {
  Nearest,   ///< no learning: round to nearest, activations by least squares
  AdaRound,  ///< layer by layer; activations' steps by least squares afterwards (arXiv 2004.10568)
  Brecq,     ///< block by block; activations' steps learned afterwards (arXiv 2102.05426)
  QDrop,     ///< block by block, activations' steps learned along, dropping their quantization (arXiv 2203.05740)
  Best,      ///< QDrop with what the factor study favours: a high rate for few steps, cosine to 0, biases learned
};

/// How the steps of quantized activations are found; the start is always the least squared error.
enum class ActivationSteps {
  Mse,    ///< that is all
  After,  ///< learned when all weights are rounded
  Joint,  ///< learned together with the rounding
};

struct GradientPtqOptions {
  ReconstructOptions reconstruct{};
  bool learn = true;        ///< false: round to nearest
  bool blocks = true;       ///< units are the network's blocks; else single layers with their activation function
  int bits = 4;             ///< of weights
  int edge_bits = 8;        ///< of the first and the last layer, which are rounded to nearest
  int activation_bits = 0;  ///< 0: activations stay float. Those around the edge layers have edge_bits
  ActivationSteps activations = ActivationSteps::Mse;
  int64_t activation_steps = 5000;  ///< of ActivationSteps::After, at
  double activation_rate = 4e-4;    ///< this rate
  int64_t samples = 0;              ///< uses the first so many calibration samples; 0: all
  RowBits widths{};                 ///< other numbers of bits for the layers named (mixed precision)
};

GradientPtqOptions gradient_preset(PtqPreset preset);
/// "nearest", "adaround", "brecq", "qdrop", "best"; UsageError for others.
PtqPreset parse_preset(std::string_view name);

/// Changes one option: "loss=cosine", "rate=0.01", "blocks=false". UsageError that names the nearest key or the words
/// an option takes.
void set_option(GradientPtqOptions& options, std::string_view assignment);
/// All options as "key=value", in order.
std::vector<std::string> list_options(const GradientPtqOptions& options);

struct GradientPtqResult {
  /// The calibrated network: batch normalization folded, weights rounded, weight slots as after any post-training
  /// quantization. Activations are quantized in the output slots of the nodes whose values layers take in, for layers
  /// inside modules in their input slots; the network's input is left as it is.
  Network net = nullptr;
  struct Unit {
    std::string name;
    ReconstructReport report;  ///< without the output
  };
  std::vector<Unit> units{};  ///< those that were learned
};

/// Quantizes a network in the order of its units. A unit's input comes from the quantized units before it, its target
/// from the float network ("asymmetric reconstruction"), so that each makes up for the errors before it. `calibration`
/// are inputs as the network takes them; labels (int64) are needed for the Fisher option only. With the KL loss the
/// last unit that is learned goes on to the network's output; other units use L2.
GradientPtqResult gradient_ptq(const Network& net, const Examples& calibration, const GradientPtqOptions& options);

/// The quantizable layers that are learned: all but the first and the last.
std::vector<std::string> inner_layers(const Network& net);

}  // namespace quanta
