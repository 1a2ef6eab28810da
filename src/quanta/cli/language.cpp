#include "quanta/cli/language.h"

#include "quanta/core/error.h"
#include "quanta/models/checkpoint.h"
#include "quanta/models/gguf_model.h"
#include "quanta/quantize/quantized_checkpoint.h"

namespace quanta::cli {

namespace fs = std::filesystem;

const Tokenizer& OpenedLanguage::text() const {
  require(tokenizer != nullptr, "{} has no tokenizer, which text needs: {}", path, no_tokenizer);
  return *tokenizer;
}

bool is_language_model(const fs::path& path) {
  std::error_code ignored;
  return path.extension() == ".gguf" || fs::exists(path / "config.json", ignored);
}

OpenedLanguage open_language_model(const fs::path& path) {
  std::error_code ignored;
  require(fs::exists(path, ignored), "{}: no such file or folder; expected a Hugging Face folder or a GGUF file",
          path.string());
  OpenedLanguage opened{.path = path.string()};
  if (path.extension() == ".gguf") {
    GgufModel file = read_gguf(path);
    opened.model = std::move(file.model);
    opened.tokenizer = std::move(file.tokenizer);
    if (!opened.tokenizer) opened.no_tokenizer = "the file has no vocabulary";
  } else {
    opened.model = open_checkpoint(path, /*packed=*/true).model();
    try {
      opened.tokenizer = load_tokenizer(path);
    } catch (const Error& error) {  // scores of tokens need none
      opened.no_tokenizer = error.what();
    }
  }
  if (opened.tokenizer) require_vocabulary(opened.model->config(), *opened.tokenizer);
  opened.model->eval();
  return opened;
}

}  // namespace quanta::cli
