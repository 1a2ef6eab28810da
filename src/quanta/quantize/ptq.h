#pragma once

#include <torch/torch.h>

#include <map>
#include <string>
#include <vector>

#include "quanta/nn/network.h"
#include "quanta/quantize/observer.h"
#include "quanta/quantize/uniform.h"

namespace quanta {

/// When the ranges of activations are chosen.
enum class ActivationMode {
  None,             ///< activations stay float: only weights are quantized
  Static,           ///< once, from calibration batches
  DynamicPerBatch,  ///< at run time, from each tensor
  DynamicPerRow,    ///< at run time, from each sample
};

struct PtqOptions {
  UniformOptions weight{.bits = 8, .symmetric = true, .narrow = true, .axis = 0};
  UniformOptions activation{};  ///< one grid for a tensor
  ActivationMode activations = ActivationMode::Static;
  ObserverOptions observer{};  ///< of activations; bits and scheme are taken from `activation`

  int first_bits = 0;  ///< of the first layer's weights; 0: as the others
  int last_bits = 0;   ///< of the last layer's weights; 0: as the others
  /// Bits of the weights of the layers named (and before first_bits and last_bits); 32 leaves a layer float.
  std::map<std::string, int> weight_bits{};
  std::map<std::string, int> activation_bits{};  ///< of the values of the nodes named; 32 leaves them float

  bool equalize = false;         ///< cross-layer equalization before all else
  bool bias_correction = false;  ///< of the shift that rounded weights cause, on the calibration batches
  bool quantize_output = false;  ///< also what a last linear layer puts out
};

/// Post-training quantization (arXiv 1806.08342): a copy with batch normalization folded, in evaluation mode, that
/// holds a frozen FakeQuantize in the weight slot of each layer and in the output slot of each node that writes to
/// memory: the input; a layer, or the ReLU or sum and ReLU behind it as one operation; average pools; concatenations
/// and what goes into them with one grid for all. Maximum pools, reshaping and shuffling keep their input's grid.
/// Dynamic activations have a DynamicQuantizer there instead.
///
/// `batches` are inputs as in training; weight-only and dynamic quantization without bias correction need none. The
/// activations' ranges are those that the network with quantized weights puts out.
///
/// Errors: no batches where they are needed, or of a wrong shape; NaN or infinite weights or activations, with the name
/// of the layer or node; names that do not exist; bits that do not exist.
Network ptq(const Network& net, const std::vector<torch::Tensor>& batches, const PtqOptions& options = {});
/// The same for samples [N, ...], in batches of 64; undefined: none.
Network ptq(const Network& net, const torch::Tensor& samples, const PtqOptions& options = {});

/// One layer of a quantized network.
struct QuantizedLayer {
  LayerInfo layer;
  int weight_bits = 32;
  std::string weights = "float";  ///< how they are quantized
  int activation_bits = 32;       ///< of what goes in
  int64_t bytes = 0;              ///< codes at their bits, the quantizer's parameters, the bias as 32 bits
  double bit_ops = 0;             ///< multiply-accumulates times the bits of both factors, a sample
  double sqnr = 0;                ///< of the weights, in dB: 10 log10(sum w^2 / sum (w - w^)^2); infinite if exact
};

/// Size, work and weight error of each layer, for inputs [1, C, H, W].
std::vector<QuantizedLayer> quantization_table(const Network& net, torch::IntArrayRef input_shape);

}  // namespace quanta
