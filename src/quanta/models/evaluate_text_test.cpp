#include "quanta/models/evaluate_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "quanta/core/error.h"
#include "quanta/core/parallel.h"

namespace quanta {
namespace {

using testing::HasSubstr;
using torch::Tensor;

LanguageModel tiny() {
  LanguageModel model(LanguageConfig::llama(40, 32, 48, 2, 4, 32));
  model->initialize(3, 0.3);
  model->eval();
  return model;
}
Tensor stream(int64_t n) {
  return torch::arange(n) * torch::arange(n) * 7 % 40;
}

/// -ln p of the last token of a text, by definition.
double definition(LanguageModel model, const Tensor& text) {
  const torch::NoGradGuard no_grad;
  const auto logits = model->forward(text.slice(0, 0, -1).unsqueeze(0))[0][-1].to(torch::kFloat64);
  return -(logits[text[-1].item<int64_t>()] - logits.logsumexp(0)).item<double>();
}

TEST(EvaluateText, SequencesAreScoredByDefinition) {
  LanguageModel model = tiny();
  const Tensor sequences = stream(90).view({3, 30});
  double nll = 0;
  for (int64_t i = 0; i < 3; ++i)
    for (int64_t t = 1; t < 30; ++t) nll += definition(model, sequences[i].slice(0, 0, t + 1));
  const TextScore score = score_sequences(model, sequences);
  EXPECT_NEAR(score.nll, nll, 1e-4);
  EXPECT_EQ(score.predicted, 87);
  EXPECT_EQ(score.windows, 3);
  EXPECT_DOUBLE_EQ(score.perplexity(), std::exp(score.nll / 87));
}

TEST(EvaluateText, WindowsAreGptqs) {
  LanguageModel model = tiny();
  const TextScore score = perplexity(model, stream(100), {.length = 16});
  EXPECT_EQ(score.windows, 6);
  EXPECT_EQ(score.predicted, 6 * 15);
  EXPECT_EQ(score.nll, score_sequences(model, stream(96).view({6, 16})).nll);
  EXPECT_EQ(perplexity(model, stream(100), {.length = 16, .windows = 2}).nll,
            score_sequences(model, stream(32).view({2, 16})).nll);
  EXPECT_EQ(perplexity(model, stream(100)).windows, 3) << "the model's 32 positions";
}

TEST(EvaluateText, StridesScoreEveryTokenOnce) {
  LanguageModel model = tiny();
  const Tensor text = stream(45);
  for (const int64_t stride : {1, 4, 7, 11}) {
    double nll = 0;
    int64_t scored = 1, windows = 0;  // the first token is given
    for (int64_t end = 12;; end = std::min<int64_t>(45, end + stride), ++windows) {
      for (; scored < end; ++scored) nll += definition(model, text.slice(0, end - 12, scored + 1));
      if (end == 45) break;
    }
    const TextScore score = perplexity(model, text, {.length = 12, .stride = stride});
    EXPECT_EQ(score.predicted, 44) << stride;
    EXPECT_EQ(score.windows, windows + 1) << stride;
    EXPECT_NEAR(score.nll, nll, 1e-4) << stride;
  }
}

TEST(EvaluateText, AModelThatKnowsNothing) {
  LanguageModel model(LanguageConfig::llama(64, 32, 48, 1, 4, 32));  // all weights 0
  const TextScore score = perplexity(model, stream(320), {.length = 32});
  EXPECT_NEAR(score.perplexity(), 64, 1e-4);
  EXPECT_NEAR(score.bits_per_byte(100, 400), 6 / 4.0, 1e-6);
}

TEST(EvaluateText, ResultsDoNotDependOnThreads) {
  LanguageModel model = tiny();
  const int before = threads();
  set_threads(1);
  const double one = perplexity(model, stream(4096), {.length = 32}).nll;
  const double one_stride = perplexity(model, stream(512), {.length = 32, .stride = 8}).nll;
  for (const int count : {2, 3, 5}) {
    set_threads(count);
    EXPECT_EQ(perplexity(model, stream(4096), {.length = 32}).nll, one);
    EXPECT_EQ(perplexity(model, stream(512), {.length = 32, .stride = 8}).nll, one_stride);
  }
  set_threads(before);
}

TEST(EvaluateText, TokensAreScoredExactly) {
  LanguageModel model = tiny();
  const Tensor ids = stream(20);
  const TokensScore score = score_tokens(model, ids);
  EXPECT_NEAR(score.nll, score_sequences(model, ids.unsqueeze(0)).mean(), 1e-6);
  const torch::NoGradGuard no_grad;
  EXPECT_LT((score.last_logits - model->forward(ids.unsqueeze(0))[0][-1]).abs().max().item<double>(), 1e-5);
  EXPECT_TRUE(std::isnan(score_tokens(model, ids.slice(0, 0, 1)).nll));
}

TEST(EvaluateText, BadInputIsRefused) {
  LanguageModel model = tiny();
  const auto message_of = [](auto body) -> std::string {
    try {
      body();
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  };
  EXPECT_THAT(message_of([&] { perplexity(model, stream(31)); }), HasSubstr("31 tokens, fewer than a window of 32"));
  EXPECT_THAT(message_of([&] { perplexity(model, stream(99), {.length = 33}); }), HasSubstr("32 positions"));
  EXPECT_THAT(message_of([&] { perplexity(model, stream(99), {.length = 8, .stride = 9}); }), HasSubstr("stride"));
  EXPECT_THAT(message_of([&] { score_sequences(model, torch::full({1, 4}, 40)); }), HasSubstr("vocabulary of 40"));
  EXPECT_THAT(message_of([&] { score_sequences(model, torch::full({1, 1}, 4)); }), HasSubstr("at least two tokens"));
}

}  // namespace
}  // namespace quanta
