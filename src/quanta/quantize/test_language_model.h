#pragma once

// For tests: small random decoders of each family and token ids for them.

#include <vector>

#include "quanta/core/random.h"
#include "quanta/models/language_model.h"

namespace quanta {

inline LanguageConfig test_config(Family family, int64_t layers = 3) {
  LanguageConfig config = LanguageConfig::llama(40, 32, 64, layers, 4, 24);
  config.family = family;
  if (family == Family::Llama) return config;
  config.activation = family == Family::Opt ? MlpActivation::Relu : MlpActivation::GeluTanh;
  config.attention_bias = config.output_bias = config.mlp_bias = config.tied = true;
  return config;
}

/// Weights, biases and norms random.
inline LanguageModel test_language_model(const LanguageConfig& config, uint64_t seed = 1) {
  LanguageModel model(config);
  model->initialize(seed, 0.2);
  const torch::NoGradGuard no_grad;
  Random random(seed);
  for (auto& p : model->parameters())
    if (p.dim() == 1)
      for (int64_t i = 0; i < p.numel(); ++i) p.data_ptr<float>()[i] += float(random.uniform(-0.3, 0.3));
  model->eval();
  return model;
}

inline torch::Tensor test_tokens(int64_t sequences, int64_t length = 24, uint64_t seed = 5) {
  Random random(seed);
  torch::Tensor tokens = torch::empty({sequences, length}, torch::kInt64);
  for (int64_t i = 0; i < tokens.numel(); ++i) tokens.data_ptr<int64_t>()[i] = int64_t(random.below(40));
  return tokens;
}

}  // namespace quanta
