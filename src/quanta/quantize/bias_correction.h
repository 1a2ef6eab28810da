#pragma once

#include <torch/torch.h>

#include <vector>

#include "quanta/nn/network.h"

namespace quanta {

/// Takes the shift that rounded weights cause out of the layers' biases (arXiv 1906.04721, section 4.2, with the mean
/// over data): bias -= E[(Wq - W) x] for each output channel, x being the layer's input in the float network on these
/// batches. Both networks have the same nodes, batch normalization folded; layers of `quantized` without a bias keep
/// none (see with_biases()). Error for no batches, batches that do not fit.
void correct_biases(const Network& reference, Network& quantized, const std::vector<torch::Tensor>& batches);

}  // namespace quanta
