#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "quanta/models/language_model.h"

namespace quanta {

/// How the next token is chosen, with the meaning and in the order of Hugging Face's logits processors.
struct GenerateOptions {
  int64_t new_tokens = 128;       ///< at most
  double temperature = 0;         ///< 0: the likeliest token (top_k, top_p and seed then have no effect)
  int64_t top_k = 0;              ///< only the k likeliest and what ties with the last of them; 0: all
  double top_p = 1;               ///< only the likeliest that together reach this probability, in (0, 1]
  double repetition_penalty = 1;  ///< logits of tokens seen before are divided (negative ones multiplied) by it
  uint64_t seed = 0;
  bool cache = true;  ///< keep keys and values; without, or beyond longest_cached(), every step reads all
  std::optional<std::vector<int64_t>> eos{};      ///< instead of the configuration's; empty: never stop
  std::function<bool(int64_t token)> on_token{};  ///< told each new token as it comes; false stops
};

/// Probabilities of the next token after repetition penalty, temperature, top_k and top_p; at temperature 0 the penalty
/// alone. `history`: all tokens so far. Error for options out of range.
std::vector<double> next_token_probabilities(std::span<const float> logits, std::span<const int64_t> history,
                                             const GenerateOptions& options);

/// The new tokens behind a prompt (at least one token), the one that ended it (eos) included. Ends at new_tokens, eos,
/// on_token's false or the model's longest sequence. Equal for the same seed, with and without the cache.
std::vector<int64_t> generate(LanguageModel model, const std::vector<int64_t>& prompt,
                              const GenerateOptions& options = {});

}  // namespace quanta
