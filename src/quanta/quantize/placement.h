#pragma once

#include <functional>
#include <string>
#include <vector>

#include "quanta/nn/network.h"
#include "quanta/quantize/fake_quantize.h"

namespace quanta {

/// Where a network's activations are quantized (arXiv 1806.08342, section 3.1.2): where an operation writes to memory.
/// The input; a layer, a batch normalization or a sum, unless a ReLU takes its value and nobody else does, for then
/// both are one operation; that ReLU; average pooling; modules. Maximum pooling, reshaping, shuffling, upsampling and
/// dropout hand on their input's codes. All inputs and the output of a concatenation share one quantizer. The network's
/// output is quantized only on request if it is a linear layer's.
struct Placement {
  /// For each node the group whose quantizer its value is on, or -1 if the value is never written.
  std::vector<int> group;
  /// For each group the nodes that write its values, in order; they get the quantizer.
  std::vector<std::vector<int>> writers;
};
Placement place_activations(const NetworkImpl& net, bool quantize_output = false);

/// Whether a node's value is on its input's grid by itself.
bool passes_codes(Op op);

/// The quantizer in a slot: itself or what a FakeQuantize holds; null if there is none.
const Quantizer* quantizer_in(const Slot& slot);
/// The same where only the uniform one will do.
const UniformQuantizer* uniform_in(const Slot& slot);

/// Runs the network on each batch. Error for no batches, and for one that the network cannot take.
void run_batches(NetworkImpl& net, const std::vector<torch::Tensor>& batches, const NetworkImpl::Visitor& visit);

/// Does something for a node or layer; an Error's message begins with its name.
void naming(const std::string& name, const std::function<void()>& action);

/// The layers of a network, by name, in order.
std::vector<std::pair<std::string, std::shared_ptr<QuantizableLayer>>> layers_of(const NetworkImpl& net);

}  // namespace quanta
