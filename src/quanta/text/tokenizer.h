#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace quanta {

/// Text to the numbers a language model reads, and back.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// The ids of a text (UTF-8). Special tokens that stand in the text by name are recognized. `special`: also what the
  /// tokenizer puts around every text (a beginning-of-sequence token), if it does.
  virtual std::vector<int64_t> encode(std::string_view text, bool special = false) const = 0;
  /// The bytes of the ids; special tokens are left out unless asked for. Error for an id that is not in the vocabulary.
  virtual std::string decode(const std::vector<int64_t>& ids, bool special = false) const = 0;

  virtual int64_t size() const = 0;  ///< ids are 0 .. size() - 1
  virtual std::optional<int64_t> bos() const = 0;
  virtual std::optional<int64_t> eos() const = 0;
  virtual std::optional<int64_t> unknown() const = 0;
};

/// The tokenizer of a model's folder: tokenizer.json, else tokenizer.model, else vocab.json of characters or bytes.
/// Error naming what was looked for if there is none, and the file and the fault if it is damaged.
std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& folder);

}  // namespace quanta
