#pragma once

#include <torch/torch.h>

namespace quanta {

/// `quantized`, bit for bit, with the gradient of a straight line: dL/dx = dL/dy where |x| <= reach (a tensor that
/// broadcasts to x), else 0; an undefined reach lets everything pass.
torch::Tensor straight_through(const torch::Tensor& x, const torch::Tensor& quantized, const torch::Tensor& reach = {});

}  // namespace quanta
