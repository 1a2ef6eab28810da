#include "quanta/quantize/update_rule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "quanta/core/error.h"

namespace quanta {
namespace {

/// Five steps at 0.01 on x^4 / 4 - x from (0.5, -1.25, 2).
torch::Tensor five_steps(UpdateRule rule, double factor = 1) {
  auto x = torch::tensor({0.5, -1.25, 2.0}, torch::kFloat64).set_requires_grad(true);
  Updater updater(rule, {{{x}, 0.01}});
  for (int i = 0; i < 5; ++i) {
    updater.zero_gradients();
    (x.pow(4) / 4 - x).sum().backward();
    updater.step(factor);
  }
  return x.detach();
}

TEST(UpdateRule, IsThatOfPyTorch) {
  // From torch.optim in Python, whose NAdam keeps a product of momenta as float32.
  const std::vector<std::pair<UpdateRule, std::vector<double>>> expected = {
      {UpdateRule::Sgd, {0.612792370832, -0.898483740340, 1.281397188903}},
      {UpdateRule::RmsProp, {0.795944565485, -0.953886435260, 1.709186634665}},
      {UpdateRule::Adam, {0.549958038730, -1.200073887229, 1.950081291574}},
      {UpdateRule::AdamW, {0.549698334200, -1.199459984571, 1.949093246463}},
      {UpdateRule::Adamax, {0.549611169336, -1.200744685950, 1.950818405126}},
      {UpdateRule::NAdam, {0.540263165922, -1.209902817832, 1.959939233290}}};
  for (const auto& [rule, values] : expected)
    EXPECT_LT((five_steps(rule) - torch::tensor(values, torch::kFloat64)).abs().max().item<double>(), 1e-9)
        << int(rule);
}

TEST(UpdateRule, ParametersWithoutGradientStay) {
  auto x = torch::ones({2}).set_requires_grad(true), y = torch::ones({2}).set_requires_grad(true);
  Updater updater(UpdateRule::Adam, {{{x}, 0.1}, {{y}, 0.1}});
  updater.zero_gradients();
  x.sum().backward();
  updater.step();
  EXPECT_TRUE(torch::equal(y, torch::ones({2})));
  EXPECT_LT(x.max().item<float>(), 1);
  EXPECT_THAT(
      [&] {
        Updater(UpdateRule::Sgd, {{{x}, 0.0}});
      },
      testing::ThrowsMessage<Error>(testing::HasSubstr("positive")));
}

}  // namespace
}  // namespace quanta
