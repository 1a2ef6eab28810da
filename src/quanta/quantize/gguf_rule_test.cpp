#include "quanta/quantize/gguf_rule.h"

#include <gtest/gtest.h>

#include "quanta/core/error.h"
#include "quanta/quantize/gptq.h"

namespace quanta {
namespace {

constexpr GgufType kTypes[]{GgufType::Q4_0, GgufType::Q4_1, GgufType::Q5_0, GgufType::Q8_0, GgufType::Q4_K,
                            GgufType::Q6_K, GgufType::Q2_K, GgufType::Q3_K, GgufType::Q5_K};

struct Layer {
  torch::Tensor w, h;
};
// Inputs that depend on each other, or there would be nothing for GPTQ to gain.
Layer correlated(int64_t seed) {
  torch::manual_seed(seed);
  const torch::Tensor x =
      torch::matmul(torch::randn({1024, 512}), torch::randn({512, 512}) / 16) + torch::randn({1024, 1});
  return {torch::randn({24, 512}), torch::matmul(x.t(), x)};
}

TEST(GgufRule, StoresWhatTheSolverFoundWithoutLoss) {
  const Layer layer = correlated(1);
  for (const GgufType type : kTypes) {
    const GgufRule rule(type);
    const auto solved = gptq(layer.w, layer.h, rule, {.static_groups = true});
    const torch::Tensor bytes = rule.pack(layer.w, solved.codes);
    EXPECT_EQ(bytes.size(1), gguf_row_bytes(type, 512));
    EXPECT_TRUE(torch::equal(rule.unpack(bytes), solved.weight)) << rule.describe();
  }
}

TEST(GgufRule, StoresWhatRoundingFoundWithoutLoss) {
  torch::manual_seed(5);
  const torch::Tensor w = torch::randn({64, 512}) / 8;
  for (const GgufType type : kTypes) {
    const GgufRule rule(type);
    const auto rounded = rtn(w, rule);
    const torch::Tensor stored = rule.unpack(rule.pack(w, rounded.codes));
    EXPECT_TRUE(torch::equal(stored, rounded.weight))
        << rule.describe() << " " << (stored - rounded.weight).abs().max().item<float>() << " "
        << stored.ne(rounded.weight).sum().item<int64_t>();
  }
}

TEST(GgufRule, SolvingErrsLessThanEncoding) {
  for (const int64_t seed : {1, 2, 3}) {
    const Layer layer = correlated(seed);
    for (const GgufType type : kTypes) {
      const GgufRule rule(type);
      const torch::Tensor encoded = rule.unpack(rule.pack(layer.w, rtn(layer.w, rule).codes));
      for (const bool act_order : {false, true}) {
        const auto solved = gptq(layer.w, layer.h, rule, {.act_order = act_order, .static_groups = true});
        EXPECT_LT(output_error(layer.w, solved.weight, layer.h), 0.7 * output_error(layer.w, encoded, layer.h))
            << rule.describe() << act_order;
      }
    }
  }
}

TEST(GgufRule, RefusesPlainTypes) {
  EXPECT_THROW(GgufRule(GgufType::F16), Error);
  EXPECT_THROW(GgufRule(GgufType::Q4_K).fit(torch::randn({2, 100})), Error);
}

}  // namespace
}  // namespace quanta
