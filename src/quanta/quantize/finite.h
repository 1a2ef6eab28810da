#pragma once

#include <torch/torch.h>

namespace quanta {

/// Whether there is neither NaN nor infinity in x, float32 or float64; in one pass over memory.
bool all_finite(const torch::Tensor& x);

}  // namespace quanta
