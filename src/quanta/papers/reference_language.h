#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "quanta/models/language_model.h"
#include "quanta/papers/recipe.h"
#include "quanta/text/tokenizer.h"

namespace quanta {

/// A small language model that the comparisons of recipes stand on, and its data.
struct ReferenceLanguage {
  LanguageModel model = nullptr;           ///< float32, in evaluation mode
  std::filesystem::path folder{};          ///< where it lies, as a Hugging Face folder
  std::shared_ptr<Tokenizer> tokenizer{};  ///< null for mk64
  torch::Tensor calibration{};  ///< int64 [64, T]: of mk64 seed 555, of a text random windows of its first part
  torch::Tensor test{};         ///< int64 [n, T]: mk64 128 sequences; all windows of a text's last tenth
  DataInfo data{};
};

/// `name`: "mk64" (2 blocks of width 64 on data/markov_text.h), or the presets "pico" and
/// "nano" of train/language.h on the characters of tiny Shakespeare (or of its stand-in). Trained once for a seed and
/// kept in $QUANTA_CACHE (default
/// ~/.cache/quanta; if that cannot be written, the run's folder) under a name with a hash of all that fixes the
/// result. What has to be trained goes on from context.out with context.resume. UsageError for another name; throws
/// Interrupted.
ReferenceLanguage reference_language_model(const std::string& name, uint64_t seed, const RunContext& context);

/// $QUANTA_CACHE, or "quanta" in $XDG_CACHE_HOME or ~/.cache; empty if none of these is set.
std::filesystem::path cache_folder();

}  // namespace quanta
