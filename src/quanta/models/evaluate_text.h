#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <string>
#include <vector>

#include "quanta/models/language_model.h"
#include "quanta/text/multiple_choice.h"
#include "quanta/text/tokenizer.h"

namespace quanta {

// How well a decoder predicts. All results are the same for any number of threads: a window is one unit of work, and
// sums run over windows in order, in float64. Errors: ids out of the vocabulary, sequences longer than the model's
// positions or shorter than two tokens.

/// Of tokens that were predicted from those before them.
struct TextScore {
  double nll = 0;         ///< sum of -ln p(token | tokens before), nats
  int64_t predicted = 0;  ///< tokens scored
  int64_t windows = 0;

  double mean() const { return nll / double(predicted); }  ///< nats a token
  double perplexity() const;                               ///< exp(mean())
  /// Of a text of so many bytes that has so many tokens: comparable between tokenizers.
  double bits_per_byte(int64_t tokens, int64_t bytes) const;
};

struct PerplexityOptions {
  int64_t length = 0;  ///< tokens of a window; 0: 2048 or, if that is less, the model's positions
  /// Tokens from one window's start to the next one's; 0: length. A window scores what no window before it has, so each
  /// prediction but the first window's sees at least length - stride tokens.
  int64_t stride = 0;
  int64_t windows = 0;  ///< the first so many only; 0: all
};

/// Perplexity as GPTQ and its followers measure it: a stream int64 [n] (a whole text, tokenized once, with one
/// beginning-of-sequence token in front if the model knows one) is cut into floor(n / length) windows, and the
/// length - 1 predictions of each window, made from that window alone, are averaged. With a stride the windows overlap
/// and a last, shorter step reaches the text's end. Error if the text is shorter than a window.
TextScore perplexity(LanguageModel model, const torch::Tensor& stream, const PerplexityOptions& options = {});

/// The predictions 2 .. T of sequences int64 [n, T].
TextScore score_sequences(LanguageModel model, const torch::Tensor& sequences);

/// -ln p(ids[b, t + 1] | ids[b, ..t]): float32 [B, T - 1] for ids [B, T]. Logits are made 256 positions at a time.
torch::Tensor token_nll(LanguageModel model, const torch::Tensor& ids);

/// ids int64 [T], T >= 1.
struct TokensScore {
  double nll = 0;               ///< mean over tokens 2 .. T; NaN if there is one token only
  torch::Tensor last_logits{};  ///< float32 [vocabulary], after the last token
};
TokensScore score_tokens(LanguageModel model, const torch::Tensor& ids);

/// Multiple choice by log-likelihood, with the tokens of EleutherAI's lm-evaluation-harness: spaces at a context's end
/// move to the choice; context and choice are encoded together (with the tokenizer's beginning of a text, if it has
/// one), and the tokens behind as many as the context alone has are the choice's; what is longer than the model's
/// positions loses its beginning.
struct ChoiceScore {
  int64_t items = 0;
  double accuracy = 0;             ///< share of items whose right choice has the greatest sum of ln p
  double normalized_accuracy = 0;  ///< the same with each sum divided by the choice's characters
  std::vector<int64_t> chosen{};   ///< by the sums

  /// sqrt(p (1 - p) / items).
  double standard_error(double p) const;
};
ChoiceScore score_choices(LanguageModel model, const Tokenizer& tokenizer,
                          const std::vector<MultipleChoiceItem>& items);

/// The tokens of one choice in its context: ids and how many of them, at the end, are the choice's. Error if the choice
/// has no token of its own or takes more than the model's positions.
struct ChoiceTokens {
  std::vector<int64_t> ids{};
  int64_t scored = 0;
};
ChoiceTokens choice_tokens(const Tokenizer& tokenizer, const std::string& context, const std::string& choice,
                           int64_t positions);

}  // namespace quanta
