#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "quanta/models/language_model.h"
#include "quanta/text/tokenizer.h"

// What the commands on language models share: train, eval, generate, outliers.

namespace quanta::cli {

struct OpenedLanguage {
  LanguageModel model = nullptr;           ///< in evaluation mode
  std::shared_ptr<Tokenizer> tokenizer{};  ///< null if there is none
  std::string no_tokenizer{};              ///< then why
  std::string path{};

  /// The tokenizer. Error if there is none.
  const Tokenizer& text() const;
};

/// Whether a path is a language model's: a folder with config.json, or a file .gguf.
bool is_language_model(const std::filesystem::path& path);

/// A Hugging Face folder, float or quantized (its packed weights then stay as they are), or a GGUF file. Error if it is
/// damaged, of an architecture that is not known, or if its tokenizer has ids that the model lacks.
OpenedLanguage open_language_model(const std::filesystem::path& path);

}  // namespace quanta::cli
