#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string_view>

#include "quanta/text/tokenizer.h"

namespace quanta {

/// One id a character: the distinct characters of `text` (UTF-8) in the order of their code points (tiny Shakespeare:
/// 65). encode() is an Error for others. Saved as vocab.json {"type": "characters", "tokens": [...]}.
std::unique_ptr<Tokenizer> character_tokenizer(std::string_view text);

/// One id a byte, 256 of them, no special tokens. Saved as vocab.json {"type": "bytes"}.
std::unique_ptr<Tokenizer> byte_tokenizer();

/// What the two wrote. Error naming `name` and the fault.
std::unique_ptr<Tokenizer> parse_plain_tokenizer(const nlohmann::json& document, std::string_view name);

}  // namespace quanta
