#pragma once

#include <optional>
#include <string_view>

namespace quanta {

/// How a byte-level tokenizer cuts a text into words before it merges bytes. The regular expressions of the well-known
/// models, each matched by a scanner written for it; they match every character, so words follow on one another.
enum class SplitPattern {
  Gpt2,    ///< 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
  Llama3,  ///< (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|
           ///< ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
  Qwen2,   ///< the same with \p{N} in place of \p{N}{1,3}
};

/// The pattern that a regular expression of a tokenizer.json means; nothing for one that is not known.
std::optional<SplitPattern> split_pattern(std::string_view regex);
std::string_view regex(SplitPattern pattern);

/// llama.cpp's name of the pattern (GGUF's tokenizer.ggml.pre), and back ("default" is GPT-2's).
std::string_view gguf_name(SplitPattern pattern);
std::optional<SplitPattern> split_pattern_of_gguf(std::string_view name);

/// The end of the word that starts at `at` (< text.size()).
size_t word_end(SplitPattern pattern, std::string_view text, size_t at);

}  // namespace quanta
