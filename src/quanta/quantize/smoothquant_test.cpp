#include "quanta/quantize/smoothquant.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "quanta/core/error.h"
#include "quanta/core/temporary_folder.h"
#include "quanta/models/outliers.h"
#include "quanta/quantize/blockwise.h"
#include "quanta/quantize/test_language_model.h"

namespace quanta {
namespace {

using quanta::testing::TemporaryFolder;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;
using torch::Tensor;

// X = [[1, 8], [-2, 4]], W = [[1, 0.5], [-2, 0.25]]: s = (sqrt(2 / 2), sqrt(8 / 0.5)) = (1, 4).
TEST(SmoothQuant, FactorsByHand) {
  const auto x = torch::tensor({{1.0, 8.0}, {-2.0, 4.0}}), w = torch::tensor({{1.0, 0.5}, {-2.0, 0.25}});
  const auto m = std::get<0>(x.abs().max(0));
  const auto s = smoothing_factors(m, w, 0.5);
  EXPECT_TRUE(torch::allclose(s, torch::tensor({1.0, 4.0})));
  EXPECT_TRUE(torch::allclose(x / s, torch::tensor({{1.0, 2.0}, {-2.0, 1.0}})));
  EXPECT_TRUE(torch::allclose(w * s, torch::tensor({{1.0, 2.0}, {-2.0, 1.0}})));
  EXPECT_TRUE(torch::allclose(smoothing_factors(m, w, 1), m));
  EXPECT_TRUE(torch::allclose(smoothing_factors(m, w, 0), 1 / torch::tensor({2.0, 0.5})));
  EXPECT_TRUE(smoothing_factors(torch::zeros(2), torch::zeros({3, 2}), 0.5).isfinite().all().item<bool>());
}

TEST(SmoothQuant, EightBitsKeepTheModelAndOutliersAreSmoothed) {
  const TemporaryFolder folder;
  for (const Family family : {Family::Llama, Family::Gpt2, Family::Opt}) {
    LanguageModel model = test_language_model(test_config(family));
    if (family == Family::Llama) inject_outliers(model, parse_outliers("norms=2x32"));
    const auto run = [&](double alpha, int bits) {
      SmoothQuantMethod method({.bits = {.weights = {.bits = bits}, .activations = {.bits = bits}}, .alpha = alpha});
      return quantize_in_memory(model, test_tokens(16), method, {.work = folder.path(), .allow_ruined = true});
    };
    const auto eight = run(0.5, 8);
    EXPECT_LT(eight.ledger.blocks.back().error, 5e-3);
    for (const auto& slot : {eight.model->blocks[0]->query, eight.model->blocks[0]->key, eight.model->blocks[0]->value})
      EXPECT_TRUE(slot.as<DynamicAffine>());
    if (family == Family::Llama) {
      const auto query = run(0.5, 4).ledger.blocks[0].layers[0];
      EXPECT_LT(query.error, 0.5 * query.rounded_error);
    }
  }
}

TEST(SmoothQuant, Errors) {
  EXPECT_THAT([] { SmoothQuantMethod({.alpha = 1.1}); }, ThrowsMessage<Error>(HasSubstr("an alpha of 1.1")));
  EXPECT_THAT([] { SmoothQuantMethod({.bits = {.weights = {.bits = 9}}}); },
              ThrowsMessage<Error>(HasSubstr("weights of 9 bits")));
}

}  // namespace
}  // namespace quanta
