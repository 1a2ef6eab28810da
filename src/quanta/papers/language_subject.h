#pragma once

#include <torch/torch.h>

#include <cstdint>

#include "quanta/core/config.h"
#include "quanta/models/language_model.h"
#include "quanta/papers/recipe.h"

namespace quanta {

/// A language model that a recipe quantizes, and its data.
struct LanguageSubject {
  LanguageModel model = nullptr;        ///< float32, in evaluation mode
  torch::Tensor calibration{}, test{};  ///< int64 [n, T]
  DataInfo data{};
};

/// The keys of such a recipe's configuration: `model` is a reference model's name (reference_language.h) or a Hugging
/// Face folder, which needs the texts `calibration` and `test`; of these `sequences` random windows of `length` tokens
/// and the first `windows` consecutive ones (0: all). Error for texts that share a passage.
LanguageSubject language_subject(const Config& config, uint64_t seed, const RunContext& context);

}  // namespace quanta
