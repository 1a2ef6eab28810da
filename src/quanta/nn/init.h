#pragma once

#include <torch/torch.h>

#include "quanta/core/random.h"

namespace quanta {

/// Gives every Linear and Conv layer inside the module LibTorch's own default start, U(-1/sqrt(fan_in), 1/sqrt(fan_in))
/// for weights and biases, but from a seeded stream: each parameter uses random.split(its name), so it depends neither
/// on the order of construction nor on LibTorch's global generator. Other layers (batch normalization, quantum layers)
/// are left alone.
void initialize(torch::nn::Module& module, const Random& random);

}  // namespace quanta
