#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "quanta/core/error.h"
#include "quanta/models/evaluate_text.h"
#include "quanta/text/plain_tokenizers.h"

namespace quanta {
namespace {

using testing::HasSubstr;

TEST(MultipleChoice, SpacesGoToTheChoice) {
  const auto tokenizer = byte_tokenizer();
  const auto tokens = [&](const char* context, const char* choice, int64_t positions = 100) {
    const ChoiceTokens t = choice_tokens(*tokenizer, context, choice, positions);
    return std::pair(tokenizer->decode(t.ids), t.scored);
  };
  EXPECT_EQ(tokens("What? ", "this", 100), std::pair(std::string("What? this"), int64_t(5)));
  EXPECT_EQ(tokens("What?", " this", 100), std::pair(std::string("What? this"), int64_t(5)));
  EXPECT_EQ(tokens("What?", " this", 7), std::pair(std::string("t? this"), int64_t(5))) << "cut from the left";
  EXPECT_EQ(tokens("", "this").second, 3) << "nothing predicts the first byte";
  EXPECT_THROW(tokens("a", ""), Error);
  EXPECT_THROW(tokens("a", "12345678", 8), Error);
}

TEST(MultipleChoice, TheLikeliestIsChosenByDefinition) {
  LanguageModel model(LanguageConfig::llama(256, 32, 48, 2, 4, 64));
  model->initialize(7, 0.4);
  model->eval();
  const auto tokenizer = byte_tokenizer();
  std::vector<MultipleChoiceItem> items;
  for (int i = 0; i < 20; ++i)
    items.push_back({.contexts = {"Question " + std::to_string(i * 37 % 20) + ":"},
                     .choices = {" a", " quite long answer", " no" + std::to_string(i)},
                     .lengths = {1, 17, i < 10 ? 3 : 4},
                     .label = i % 3});
  const torch::NoGradGuard no_grad;
  double right = 0, normalized_right = 0;
  std::vector<int64_t> chosen;
  for (const auto& item : items) {
    std::vector<double> sums, means;
    for (size_t c = 0; c < 3; ++c) {
      const auto ids = tokenizer->encode(item.contexts[0] + item.choices[c]);
      const auto p = model->forward(torch::tensor(ids).unsqueeze(0))[0].to(torch::kFloat64).log_softmax(-1);
      double sum = 0;
      for (size_t t = item.contexts[0].size(); t < ids.size(); ++t) sum += p[int64_t(t) - 1][ids[t]].item<double>();
      sums.push_back(sum);
      means.push_back(sum / double(item.lengths[c]));
    }
    const auto best = [](const auto& v) { return std::max_element(v.begin(), v.end()) - v.begin(); };
    chosen.push_back(best(sums));
    right += best(sums) == item.label;
    normalized_right += best(means) == item.label;
  }
  const ChoiceScore score = score_choices(model, *tokenizer, items);
  EXPECT_EQ(score.chosen, chosen);
  EXPECT_EQ(score.accuracy, right / 20);
  EXPECT_EQ(score.normalized_accuracy, normalized_right / 20);
  EXPECT_DOUBLE_EQ(score.standard_error(0.5), std::sqrt(0.25 / 20));
}

}  // namespace
}  // namespace quanta
