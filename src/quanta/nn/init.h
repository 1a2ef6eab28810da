#pragma once

#include <torch/torch.h>

#include "quanta/core/random.h"

namespace quanta {

enum class ConvolutionStart {
  Uniform,        ///< LibTorch's default: U(-1/sqrt(fan_in), 1/sqrt(fan_in)), also for biases
  KaimingNormal,  ///< torchvision's: normal, variance 2 / (out * kh * kw); biases 0
};

/// Gives the module, if it is a linear or convolution layer (LibTorch's or a QuantizableLayer), and every such layer
/// inside it its start values; linear layers get LibTorch's default. They come from a seeded stream of its own: the
/// values depend on the seed and the layer's name alone, not on the order of construction or LibTorch's global
/// generator. Other layers (batch normalization, quantum layers) are left alone.
void initialize(torch::nn::Module& module, const Random& random,
                ConvolutionStart convolutions = ConvolutionStart::Uniform);

}  // namespace quanta
