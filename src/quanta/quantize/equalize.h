#pragma once

#include "quanta/nn/network.h"

namespace quanta {

/// Cross-layer equalization (arXiv 1906.04721, section 4.1): a copy in which, between two layers that follow each
/// other, each channel is scaled so that the first layer's row and the second layer's column have the same largest
/// weight, r_c = sqrt(w1_c w2_c) / w2_c. The function stays the same, for what lies between (nothing, ReLU, pooling,
/// upsampling, flattening, dropout) is positively homogeneous; ReLU6 is not and stops it, as do a value that two nodes
/// use and anything in a slot. Pairs are visited in turn, at most `rounds` times, until nothing changes by more than
/// 0.1 %. Error for batch normalization behind a convolution: fold it first.
Network equalize(const Network& net, int rounds = 20);

/// A copy in which every convolution and linear layer has a bias, zeros if it had none.
Network with_biases(const Network& net);

}  // namespace quanta
