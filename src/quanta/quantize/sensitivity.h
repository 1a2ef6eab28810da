#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "quanta/nn/network.h"

namespace quanta {

/// How far outputs lie from reference outputs; 0 if they are equal.
enum class Divergence {
  Kl,  ///< mean over samples of KL(softmax(reference) || softmax(output)), natural logarithm; dimension 1: classes
  BernoulliKl,  ///< mean over all values of the same for sigmoids, each an event of its own (dense detectors)
  Mse,          ///< mean squared difference
};
/// Computed from logits in double precision.
double divergence(Divergence kind, const torch::Tensor& reference, const torch::Tensor& output);

/// A quantizer with its grid set for these values: a weight [out, ...], or the least and the greatest value of an
/// activation.
using MakeQuantizer = std::function<std::shared_ptr<TensorTransform>(const torch::Tensor& values, int bits)>;

/// ReLU and ReLU6: behind them activations are quantized.
bool is_rectifier(const Node& node);

enum class QuantizedPart {
  Weights,      ///< of each quantizable layer
  Activations,  ///< of each ReLU and ReLU6, with the range it takes on the data
};

struct SensitivityOptions {
  std::vector<int> bits{2, 4, 8};
  QuantizedPart part = QuantizedPart::Weights;
  Divergence divergence = Divergence::Kl;
  MakeQuantizer quantizer{};  ///< empty: affine, min-max, per output channel for weights, per tensor for activations
  /// What of the network's output is compared, such as a detector's class maps; empty: all of it.
  std::function<torch::Tensor(const torch::Tensor& output)> logits{};
  int64_t batch = 64;
};

/// What it does to the output to quantize one part to a width while everything else stays as it is.
struct SensitivityTable {
  std::vector<std::string> names{};          ///< of layers or nodes
  std::vector<int64_t> sizes{};              ///< weights of the layer, or values of the activation a sample
  std::vector<int> bits{};                   ///< ascending
  std::vector<std::vector<double>> omega{};  ///< [parts][bits]
};

/// The table for data [N, ...]; it takes a forward pass for each entry. The network is not changed and must be in
/// evaluation mode; quantizers that it holds already stay on. Errors: training mode, no data, bits that do not ascend
/// within [1, 16], nothing to quantize, an output that is not finite.
SensitivityTable layer_sensitivity(Network network, const torch::Tensor& data, const SensitivityOptions& options = {});

}  // namespace quanta
