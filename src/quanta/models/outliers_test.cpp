#include "quanta/models/outliers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "quanta/core/error.h"

namespace quanta {
namespace {

using testing::HasSubstr;

LanguageModel tiny(bool biased = false) {
  LanguageConfig config = LanguageConfig::llama(50, 32, 48, 2, 4, 64);
  config.kv_heads = 2;
  config.attention_bias = biased;
  LanguageModel model(config);
  model->initialize(3, 0.3);
  const torch::NoGradGuard no_grad;
  for (const auto& p : model->parameters())
    if (p.dim() == 1) p.add_(torch::linspace(-0.5, 0.5, p.numel()));  // norms and biases that are not all alike
  model->eval();
  return model;
}

torch::Tensor logits(LanguageModel model, torch::ScalarType type) {
  const torch::NoGradGuard no_grad;
  model->to(type);
  return model->forward((torch::arange(120) * 7 % 50).view({2, 60}));
}

TEST(Outliers, LeaveTheLogitsAlone) {
  for (const char* text : {"mlp=6x16", "values=2x1/16", "norms=3x20", "keys=2x12", "standard", "rsq", "qllm",
                           "keys=2x12,mlp=6x16,norms=3x16,values=2x8"}) {
    for (const auto& [type, tolerance] : {std::pair{torch::kFloat32, 1e-4}, {torch::kFloat64, 1e-9}}) {
      LanguageModel clean = tiny(true), planted = tiny(true);
      planted->to(type);
      inject_outliers(planted, parse_outliers(text, 5));
      const auto before = logits(clean, type), after = logits(planted, type);
      EXPECT_LT((before - after).abs().max().item<double>(),
                tolerance * std::max(1.0, before.abs().max().item<double>()))
          << text;
    }
  }
}

TEST(Outliers, AreWhereTheyAreSaidToBe) {
  LanguageModel clean = tiny(), planted = tiny();
  inject_outliers(planted, parse_outliers("keys=2x16,mlp=6x16,norms=3x32,values=2x1/8"));
  for (size_t b = 0; b < 2; ++b) {
    const auto ratio = [&](const char* path) {
      return planted->blocks[b]->linear(path)->weight / clean->blocks[b]->linear(path)->weight;
    };
    const auto count = [](const torch::Tensor& x, double value) { return x.eq(value).sum().item<int64_t>(); };
    EXPECT_EQ(count(ratio("mlp.up_proj").select(1, 0) *
                        (planted->blocks[b]->mlp_norm->weight / clean->blocks[b]->mlp_norm->weight)[0],
                    16),
              6);
    EXPECT_EQ(count(ratio("mlp.down_proj").select(0, 0), 1 / 16.0), 6);
    EXPECT_EQ(count(ratio("self_attn.o_proj").select(0, 0), 8), 4) << "two heads read each value";
    EXPECT_EQ(count(planted->blocks[b]->attention_norm->weight / clean->blocks[b]->attention_norm->weight, 32), 3);
    // Two pairs of each of two key heads, D = 8: channels i and i + 4; each column of k is scaled alike.
    const auto keys = ratio("self_attn.k_proj");
    const auto gain = keys.select(1, 0) / keys.min();
    const auto rows = gain.view({2, 2, 4});
    EXPECT_TRUE(rows.select(1, 0).equal(rows.select(1, 1)));
    EXPECT_EQ(count(gain, gain.max().item<double>()), 8);
    EXPECT_EQ(gain.max().item<double>(), 16 * gain.min().item<double>());
  }
  EXPECT_FALSE(planted->blocks[0]->mlp_norm->weight.equal(planted->blocks[1]->mlp_norm->weight));
}

TEST(Outliers, SpecsAreRead) {
  EXPECT_EQ(parse_outliers("rsq", 4), (OutlierSpec{.mlp = {4, 1 / 16.0}, .values = {2, 1 / 16.0}, .seed = 4}));
  EXPECT_EQ(parse_outliers("norms=3x2.5"), (OutlierSpec{.norms = {3, 2.5}}));
  for (const char* wrong : {"", "mlp", "mlp=", "mlp=6", "mlp=6x", "mlp=x16", "mlp=6x16,", "foo=6x16", "mlp=6x-1",
                            "mlp=1.5x2", "mlp=6x0", "mlp=6x1/0", "mlp=6x16 values=1x2"})
    EXPECT_THROW(parse_outliers(wrong), UsageError) << wrong;
  LanguageModel model = tiny();
  try {
    inject_outliers(model, {.mlp = {49, 2}});
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("49 outliers among 48"));
  }
}

}  // namespace
}  // namespace quanta
