#pragma once

#include <memory>
#include <vector>

#include "quanta/nn/layers.h"
#include "quanta/quantize/gptq.h"
#include "quanta/quantize/input_hessian.h"

namespace quanta {

/// From now on the layer's input slot adds what a linear layer or a convolution reads to these Hessians, one for each
/// group of a convolution, until the slot is emptied.
std::vector<std::shared_ptr<InputHessian>> capture_hessians(QuantizableLayer& layer);

/// gptq() of the layer's weight, each output channel a row, group by group; the weight becomes the decoded one. Error
/// for Hessians that are not the layer's, and for a convolution that holds its batch normalization (fold it first).
std::vector<GptqResult> gptq(QuantizableLayer& layer, const std::vector<std::shared_ptr<InputHessian>>& hessians,
                             const GridRule& rule, const GptqOptions& options = {});

}  // namespace quanta
