#pragma once

#include <torch/torch.h>

#include "quanta/core/random.h"
#include "quanta/quantize/uniform.h"

namespace quanta {

/// Codes by stochastic rounding (arXiv 1806.08342, section 2.3): clamp(floor(x / scale + u) + zero_point), u uniform in
/// [0, 1), so that the expected value of the decoded code is x inside the range. A function of the stream, not of the
/// number of threads. For training and experiments; rounding to nearest is what quantize() does.
torch::Tensor quantize_stochastic(const torch::Tensor& x, const QuantParams& params, const Random& random);

}  // namespace quanta
