#pragma once

#include <torch/torch.h>

#include "quanta/core/random.h"

namespace quanta {

/// Gives the module, if it is a Linear or Conv layer, and every such layer inside it LibTorch's own default start,
/// U(-1/sqrt(fan_in), 1/sqrt(fan_in)) for weights and biases, but from a seeded stream of its own: the values depend on
/// the seed and the layer's name alone, not on the order of construction or LibTorch's global generator. Other layers
/// (batch normalization, quantum layers) are left alone.
void initialize(torch::nn::Module& module, const Random& random);

}  // namespace quanta
