#include "quanta/quantize/awq.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "quanta/core/error.h"
#include "quanta/core/temporary_folder.h"
#include "quanta/models/outliers.h"
#include "quanta/quantize/blockwise.h"
#include "quanta/quantize/fold_scales.h"
#include "quanta/quantize/gptq.h"
#include "quanta/quantize/input_hessian.h"
#include "quanta/quantize/layerwise_method.h"
#include "quanta/quantize/test_language_model.h"

namespace quanta {
namespace {

using quanta::testing::TemporaryFolder;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;
using torch::Tensor;

Tensor random_tensor(torch::IntArrayRef shape, uint64_t seed) {
  quanta::Random random(seed);
  auto made = torch::empty(shape);
  for (int64_t i = 0; i < made.numel(); ++i) made.data_ptr<float>()[i] = float(random.normal());
  return made;
}

double squares(const Tensor& x) {
  return x.square().sum(torch::kFloat64).item<double>();
}

TEST(FoldScales, LeavesTheBlockAsItIs) {
  for (const Family family : {Family::Llama, Family::Gpt2, Family::Opt}) {
    const LanguageConfig config = test_config(family, 1);
    const LanguageModel model = test_language_model(config);
    const auto h = random_tensor({2, 24, 32}, 1);
    const torch::NoGradGuard no_grad;
    const Tensor exact = copy(model->blocks[0], 0)->forward(h);
    for (size_t stage = 0; stage < 4; ++stage) {
      DecoderBlock block = copy(model->blocks[0], 0);
      const Tensor first = block->layer(block->stages()[stage].front())->weight.clone();
      const Tensor s = random_tensor({first.size(1)}, 2).abs() + 0.3;
      if (family == Family::Gpt2 && stage == 3) {
        EXPECT_FALSE(can_fold(config, stage));
        EXPECT_THROW(fold_scales(block, stage, s), Error);
        continue;
      }
      ASSERT_TRUE(can_fold(config, stage));
      fold_scales(block, stage, s);
      EXPECT_TRUE(torch::allclose(block->layer(block->stages()[stage].front())->weight, first * s));
      EXPECT_LT((block->forward(h) - exact).abs().max().item<double>(), 1e-5) << int(family) << " " << stage;
    }
  }
  LanguageConfig shared = test_config(Family::Llama, 1);
  shared.kv_heads = 2;
  EXPECT_FALSE(can_fold(shared, 1));
}

TEST(FoldScales, RefusesFactorsThatAreNotPositive) {
  DecoderBlock block = test_language_model(test_config(Family::Llama, 1))->blocks[0];
  for (const double bad : {0.0, -1.0, double(NAN)})
    EXPECT_THAT([&] { fold_scales(block, 0, torch::full(32, bad)); }, ThrowsMessage<Error>(HasSubstr("positive")));
}

// The search's losses from the second moments against the outputs themselves.
TEST(Awq, SearchFindsTheBestExponent) {
  const AffineGrid rule({.bits = 3, .group = 8});
  Tensor x = random_tensor({200, 16}, 3);
  x.select(1, 5) *= 15;
  const std::vector<Tensor> weights{random_tensor({12, 16}, 4), random_tensor({6, 16}, 5)};
  InputHessian h(16);
  h.add(x);
  const Tensor m = x.abs().mean(0);
  const AwqScales found = search_scales(m, weights, h.value(), rule, 20);
  double best = 1e300, nearest = 0, best_alpha = -1;
  for (int i = 0; i < 20; ++i) {
    Tensor s = m.pow(i / 20.0);
    s = s / (s.max() * s.min()).sqrt();
    double loss = 0;
    for (const Tensor& w : weights) loss += squares(x.matmul((rtn(w * s, rule).weight / s - w).t()));
    if (i == 0) nearest = loss;
    if (loss < best) best = loss, best_alpha = i / 20.0;
  }
  EXPECT_EQ(found.alpha, best_alpha);
  EXPECT_GT(found.alpha, 0);
  EXPECT_NEAR(found.loss / found.rounded_loss, best / nearest, 1e-4);
  EXPECT_LT(found.loss, found.rounded_loss);
}

TEST(Awq, ClippingNeverCosts) {
  const AffineGrid rule({.bits = 2, .group = 8});
  const Tensor w = random_tensor({20, 16}, 6), x = random_tensor({100, 16}, 7);
  InputHessian h(16);
  h.add(x);
  const auto error = [&](const Tensor& q) { return squares(x.matmul((q - w).t())); };
  const Tensor clipped = clip_weight(w, h.value(), rule);
  EXPECT_LT(error(rtn(clipped, rule).weight), error(rtn(w, rule).weight));
  EXPECT_TRUE(((clipped - w).abs() <= 0.45 * w.abs().max()).all().item<bool>());
  const Tensor eye = torch::eye(16);  // without correlations each group's best share is the layer's
  const Tensor alone = clip_weight(w, eye, rule);
  for (int64_t row = 0; row < 20; ++row)
    for (int64_t group = 0; group < 2; ++group) {
      const Tensor part = w.slice(0, row, row + 1).slice(1, 8 * group, 8 * group + 8).contiguous();
      double best = 1e300;
      for (int i = 0; i < 10; ++i) {
        const double limit = part.abs().max().item<double>() * (1 - i / 20.0);
        best = std::min(best, squares(rtn(part.clamp(-limit, limit), rule).weight - part));
      }
      const Tensor got = alone.slice(0, row, row + 1).slice(1, 8 * group, 8 * group + 8).contiguous();
      EXPECT_NEAR(squares(rtn(got, rule).weight - part), best, 1e-5);
    }
}

TEST(Awq, LayersAreNoWorseThanRounding) {
  for (const Family family : {Family::Llama, Family::Gpt2, Family::Opt}) {
    LanguageModel model = test_language_model(test_config(family));
    if (family == Family::Llama) inject_outliers(model, parse_outliers("norms=3x16,mlp=6x16"));
    const TemporaryFolder folder;
    AwqMethod method(std::make_shared<AffineGrid>(AffineGridOptions{.bits = 3, .group = 16}));
    const auto result = quantize_in_memory(model, test_tokens(32), method, {.work = folder.path()});
    for (const auto& block : result.ledger.blocks)
      for (const auto& layer : block.layers)
        EXPECT_LE(layer.error, 1.3 * layer.rounded_error) << block.block << layer.name;  // stages share their factors
    RoundToNearest rounding(std::make_shared<AffineGrid>(AffineGridOptions{.bits = 3, .group = 16}));
    const auto rounded = quantize_in_memory(model, test_tokens(32), rounding, {.work = folder.path()});
    EXPECT_LT(result.ledger.blocks.back().error, rounded.ledger.blocks.back().error);
  }
}

TEST(Awq, Errors) {
  const auto rule = std::make_shared<AffineGrid>(AffineGridOptions{.group = 24});
  EXPECT_THAT([&] { AwqMethod(rule).check(test_config(Family::Llama)); },
              ThrowsMessage<Error>(HasSubstr("groups of 24 do not divide the 32 inputs")));
  EXPECT_THAT([&] { AwqMethod(rule, {.steps = 0}); }, ThrowsMessage<Error>(HasSubstr("0 steps")));
}

}  // namespace
}  // namespace quanta
