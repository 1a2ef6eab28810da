#pragma once

#include <torch/torch.h>

#include <vector>

#include "quanta/nn/network.h"
#include "quanta/quantize/fake_quantize.h"

namespace quanta {

/// Some methods quantize only the activations that layers take in; integers need a grid for every value that is written
/// to memory. Puts a frozen FakeQuantize into the output slot of each node that ptq() would quantize and that has none,
/// for the range its values take on the batches. What is quantized already stays as it is.
void complete_activations(Network& net, const std::vector<torch::Tensor>& batches, const UniformOptions& grid = {},
                          const ObserverOptions& observer = {.kind = ObserverKind::MinMax});

}  // namespace quanta
