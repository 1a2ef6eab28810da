#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "quanta/nn/network.h"

namespace quanta {

struct OnnxOptions {
  std::vector<int64_t> input{3, 224, 224};        ///< one input without the batch: channels, height, width
  std::map<std::string, std::string> metadata{};  ///< kept in the file: class names, normalization ...
};

/// A network as an ONNX model (opset 13): input "input" [batch, channels, height, width], float, any batch; output
/// "logits". Batch normalization is folded first, in a copy, and the mode is evaluation.
///
/// What slots quantize is written in QDQ form, which ONNX Runtime turns into integer kernels:
/// - weights as int8 or uint8 initializers behind DequantizeLinear, per tensor or per output channel;
/// - activations as QuantizeLinear and DequantizeLinear, uint8 or int8, per tensor. What only picks or moves values
/// (max
///   pooling, ReLU, flattening, shuffling, upsampling, joining values of one grid) keeps its input's grid and is
///   followed by it, so that it runs on integers too;
/// - the bias of a layer whose weight and input are quantized as int32 with the scale s_weight * s_input. Where that
///   would overflow (a channel that is all but dead) its weight's scale is raised until it does not;
/// - codes of less than 8 bits are stored in 8 bits: weights as they are, activations behind a Clip to the grid's ends.
/// Slots that only observe, or do not quantize now, are left out.
///
/// Errors name the node: a module or a layer that is neither convolution nor linear, quantizers that are not uniform,
/// scales a group or, for activations, a channel, codes that do not fit 8 bits, a quantizer that is not set, batch
/// normalization that cannot be folded in a quantized network, an average pool that rounds up and counts padding.
std::string to_onnx(const Network& net, const OnnxOptions& options);

/// Writes it to a file, whole or not at all.
void export_onnx(const std::filesystem::path& path, const Network& net, const OnnxOptions& options);

}  // namespace quanta
