#pragma once

#include <torch/torch.h>

#include <cstddef>

#include "quanta/models/language_model.h"

namespace quanta {

/// Whether the channels that a stage's linear layers read can be rescaled where they are made, without changing the
/// block's function: at a norm always, of values unless heads share them, of the MLP's inner channels unless GELU lies
/// between.
bool can_fold(const LanguageConfig& config, size_t stage);

/// Divides these channels by s [K] where they are made - the norm's weight and bias, rows and biases of v, of up, of
/// fc1 - and multiplies the columns of the stage's weights by s. Error if !can_fold() or a factor is not a positive
/// number.
void fold_scales(DecoderBlock& block, size_t stage, const torch::Tensor& s);

}  // namespace quanta
