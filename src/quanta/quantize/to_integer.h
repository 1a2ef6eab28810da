#pragma once

#include "quanta/lowbit/integer_network.h"
#include "quanta/nn/network.h"

namespace quanta {

/// The integer form of a quantized network (ptq(), finish_qat(), load_quantized()) for images of this shape. Weights
/// and activations become the codes of their quantizers, biases int32 at weight scale * input scale; a ReLU or ReLU6
/// behind a layer or a sum is the clamp of its codes. A node whose values need a grid of their own (layers, sums, the
/// input) must have a FakeQuantize in its output slot or a rectifier with one behind it; others keep their input's
/// grid. A last linear layer without one gives float logits.
///
/// What differs from the network run in float: a value's factor M = 2^-n * [0.5, 1) is fixed point (whitepaper
/// 1806.08342) and is applied with two roundings, to 2^-n codes and then to codes, and a layer's bias is rounded to M
/// codes. So a code can lie 1/2 + 2^-n / 2 + M / 2 from the exact value instead of 1/2; M of a trained network's layers
/// is about 1/100.
///
/// Errors name the node: no quantizer or one that has seen no data, weights with more than 8 bits or groups,
/// activations with a scale a channel, batch normalization that is not folded, an operation that integers do not have
/// (Upsample, Module), a pool that rounds its size up.
IntegerNetwork to_integer(const Network& net, const ImageShape& input);

}  // namespace quanta
