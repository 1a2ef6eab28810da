#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

#include "quanta/models/language_model.h"
#include "quanta/quantize/block_method.h"
#include "quanta/quantize/dynamic_affine.h"

namespace quanta {

/// Grids of weights (2 to 8 bits, a row each) and of what the layers read (2 to 16 bits, a token each): what a decoder
/// runs on whose weights and activations both have few bits.
struct LowBits {
  DynamicAffineOptions weights{.bits = 4};
  DynamicAffineOptions activations{.bits = 4};

  /// Error naming the method for widths out of range.
  void check(std::string_view method) const;
  nlohmann::json to_json() const;
};

/// Puts quantizers into the slots of a block's queries, keys and values: a grid for each head of each token.
void quantize_attention(DecoderBlock& block, const DynamicAffineOptions& options);

/// Fills in the errors of a block's layers, which `results` has in order, with what their input slots hold: the
/// outputs' against those of the float block on its own inputs, for hidden states h [n, T, width] in front of both.
/// Inputs behind a norm are those of the quantized block's norm. `rounded_error` is that of plain rounding. Returns the
/// float block's outputs.
torch::Tensor measure_layers(DecoderBlock& exact, DecoderBlock& quantized, const torch::Tensor& h, const LowBits& bits,
                             LayerResult* results);

}  // namespace quanta
