#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <nlohmann/json.hpp>

#include "quanta/models/language_model.h"

namespace quanta {

struct RotateOptions {
  /// Of the residual stream: random signs times a Hadamard matrix, or a random orthogonal matrix for any width.
  enum class Kind { Hadamard, Random } kind = Kind::Hadamard;
  uint64_t seed = 0;
  bool values = true;  ///< rotates each head's values by a Hadamard matrix; its order is the head dimension
  /// What no weight can take in is done to activations at run time, by transforms in input slots: Hadamard matrices
  /// over the heads of the attention's output and over the MLP's inner values. Without them the model stays a standard
  /// one.
  bool online_heads = true, online_inner = true;
  bool keys = false;  ///< Hadamard over each head's queries and keys after the rotary positions, for quantized keys

  /// Only what weights can take in.
  static RotateOptions offline(uint64_t seed = 0) {
    return {.seed = seed, .online_heads = false, .online_inner = false};
  }
};

nlohmann::json to_json(const RotateOptions& options);

/// Rotations that leave a decoder's function as it is and spread outliers over all channels (QuaRot, arXiv 2404.00456).
/// The residual stream becomes h Q: norms' gains are folded into the linear layers that read them, what reads the
/// stream gets W Q, what writes it Q' W. For models with LayerNorm, Q keeps the all-ones direction, so that means and
/// variances stay what they were; there the stream's mean, which every norm removes, is also taken out of all that
/// writes it. Works on a model's parts one by one; weights are computed in float64.
class Rotation {
 public:
  /// Error if a matrix is not known for one of the sizes, naming the option that does without.
  static void check(const LanguageConfig& config, const RotateOptions& options);
  /// With the same check.
  Rotation(const LanguageConfig& config, const RotateOptions& options);

  /// Embeddings, last norm and head; tied ones are made two, in a new model that takes over the blocks. Error for a
  /// last LayerNorm with a bias where its gain is 0.
  void operator()(LanguageModel& ends) const;
  /// Error for a block whose slots are in use, or a LayerNorm's bias before a layer without one.
  void operator()(DecoderBlock& block) const;

  const torch::Tensor& matrix() const { return q_; }  ///< Q [width, width] float64

 private:
  RotateOptions options_;
  torch::Tensor q_;
};

/// Rotates a whole model in memory.
void rotate(LanguageModel& model, const RotateOptions& options = {});

}  // namespace quanta
