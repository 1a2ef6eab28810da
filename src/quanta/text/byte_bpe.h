#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "quanta/text/tokenizer.h"

namespace quanta {

/// A token that is found in a text by its name before anything else is done.
struct AddedToken {
  int64_t id = 0;
  std::string content{};
  bool special = false;      ///< left out when decoding
  bool strip_left = false;   ///< takes the white space before it
  bool strip_right = false;  ///< takes the white space after it
  bool single_word = false;  ///< not within a word
  bool normalized = false;   ///< looked for in the normalized text
};

/// What stands beside a tokenizer's file, in tokenizer_config.json: tokens by their names, and what goes around a text.
struct TokenizerSettings {
  std::optional<std::string> bos{}, eos{}, unknown{};
  std::optional<bool> add_bos{}, add_eos{};  ///< nothing: as the tokenizer's file says
  std::vector<AddedToken> added{};           ///< besides those of the file
  std::string source{};                      ///< tokenizer_config.json itself, kept when the tokenizer is saved
};

/// A tokenizer.json (Hugging Face) whose model is BPE: byte-level (GPT-2, Llama 3, Qwen2, OPT) or over characters with
/// byte fallback (Llama 2). Gives the ids that Hugging Face's `tokenizers` gives; a part that is not known is an Error
/// that quotes it. `name` is the file's for errors.
std::unique_ptr<Tokenizer> parse_tokenizer_json(const nlohmann::json& document, std::string_view name,
                                                const TokenizerSettings& settings = {});

/// The tokenizer.json of a byte-level tokenizer's older files: vocab.json {token: id} and merges.txt.
nlohmann::json tokenizer_json(const nlohmann::json& vocab, std::string_view merges, std::string_view name,
                              bool add_prefix_space = false);

/// The tokenizer.json of a vocabulary of the kind "gpt2".
nlohmann::json tokenizer_json(const Vocabulary& vocabulary, std::string_view name);

/// JSON text as a document. Error naming `name` and the place of the fault.
nlohmann::json parse_json(std::string_view text, std::string_view name);

/// Byte-level tokenizers write bytes as printable characters: 33-126, 161-172 and 174-255 as themselves, the others in
/// order as U+0100, U+0101, ... The inverse gives nothing for a text that has other characters.
std::string bytes_to_printable(std::string_view bytes);
std::optional<std::string> printable_to_bytes(std::string_view text);

}  // namespace quanta
