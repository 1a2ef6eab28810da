#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <memory>
#include <utility>

#include "quanta/models/language_model.h"

namespace quanta {

/// Rotary positions (arXiv 2104.09864) in the half-split form: of the D features of a head, x_i and x_{i + D/2} turn by
/// position * frequency_i. Angles are rounded as Hugging Face's: frequencies and products in float32.
class Rotary {
 public:
  explicit Rotary(const LanguageConfig& config);

  /// Frequencies [D/2] for a sequence of `length` positions; only RopeScaling::Kind::Dynamic depends on it.
  torch::Tensor frequencies(int64_t length) const;

  /// x [..., T, D] at positions first, first + 1, ... of a sequence that has `length` positions in all.
  torch::Tensor rotate(const torch::Tensor& x, int64_t first, int64_t length) const;

 private:
  std::pair<torch::Tensor, torch::Tensor> tables(int64_t first, int64_t count, int64_t length,
                                                 torch::ScalarType type) const;
  std::pair<torch::Tensor, torch::Tensor> compute(int64_t count, int64_t length, torch::ScalarType type) const;

  LanguageConfig config_;
  struct Cache;
  std::shared_ptr<Cache> cache_;
};

}  // namespace quanta
