#pragma once

#include "quanta/nn/network.h"

namespace quanta {

/// A copy in which batch normalizations behind a convolution are folded into its weight and bias, exactly up to
/// rounding (float 1e-5), ConvBn2d layers likewise, and dropout is left out. Batch normalizations elsewhere stay. The
/// mode is evaluation.
Network fold_batch_norm(const Network& net);

/// A copy in which a convolution with a batch normalization behind it is one ConvBn2d layer of the convolution's name.
Network fuse_batch_norm(const Network& net, BatchNormFold fold = BatchNormFold::Rescaled);

/// Freezes the batch normalization of every ConvBn2d.
void freeze_batch_norm(torch::nn::Module& net);

}  // namespace quanta
