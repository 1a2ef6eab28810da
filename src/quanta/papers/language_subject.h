#pragma once

#include "quanta/models/language_model.h"
#include "quanta/papers/recipe.h"

namespace quanta {

/// A language model that a recipe quantizes, and its data.
struct LanguageSubject {
  LanguageModel model = nullptr;  ///< float32, in evaluation mode
  torch::Tensor calibration{};    ///< int64 [n, T]
  torch::Tensor test{};           ///< int64 [windows, T]
  DataInfo data{};
};

/// By the keys of a recipe: `model` is a reference_language_model(), of which each seed has its own, or the folder of a
/// Hugging Face model. For a folder `calibration` and `test` name two texts, of which are taken `sequences` random
/// windows of `length` tokens by the seed, and the first `windows` (0: all). Error if a text is missing, too short, or
/// part of the other.
LanguageSubject language_subject(const Config& config, uint64_t seed, const RunContext& context);

}  // namespace quanta
