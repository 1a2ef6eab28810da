#include "quanta/quantize/rotate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "quanta/core/error.h"
#include "quanta/models/checkpoint.h"
#include "quanta/quantize/stored_transform.h"

namespace quanta {
namespace {

using ::testing::HasSubstr;
using torch::Tensor;

/// A model with gains (and biases) far from 1 (and 0), in which nothing cancels by chance.
LanguageModel planted(const LanguageConfig& config, uint64_t seed) {
  LanguageModel model(config);
  model->initialize(seed, 0.3);
  torch::manual_seed(int64_t(seed));
  const torch::NoGradGuard no_grad;
  for (auto& parameter : model->parameters())
    if (parameter.dim() == 1) parameter.add_(torch::randn_like(parameter)).add_(torch::rand({1}) * 0.1);
  return model;
}

Tensor ids(const LanguageConfig& config) {
  torch::manual_seed(3);
  return torch::randint(config.vocabulary, {3, 12}, torch::kInt64);
}

LanguageConfig gpt2() {
  LanguageConfig c = LanguageConfig::llama(30, 32, 48, 2, 4, 16);
  c.family = Family::Gpt2;
  c.activation = MlpActivation::GeluTanh;
  c.tied = c.attention_bias = c.output_bias = c.mlp_bias = true;
  return c;
}

std::vector<LanguageConfig> configs() {
  LanguageConfig plain = LanguageConfig::llama(50, 64, 128, 2, 4, 32);
  LanguageConfig odd = LanguageConfig::llama(50, 60, 104, 2, 6, 32);  // neither is a power of two, nor are the heads
  odd.heads = 12;
  odd.head_dim = 4;
  odd.kv_heads = 3;
  LanguageConfig tied = LanguageConfig::llama(50, 40, 52, 2, 4, 32);
  tied.heads = 8;
  tied.head_dim = 12;
  tied.kv_heads = 2;
  tied.tied = tied.attention_bias = tied.output_bias = tied.mlp_bias = true;
  LanguageConfig opt = gpt2();
  opt.family = Family::Opt;
  opt.activation = MlpActivation::Relu;
  return {plain, odd, tied, gpt2(), opt};
}

double largest_change(const LanguageConfig& config, const RotateOptions& options, torch::ScalarType type) {
  const torch::NoGradGuard no_grad;
  LanguageModel model = planted(config, 5);
  model->to(type);
  const Tensor before = model->forward(ids(config));
  LanguageModel rotated = copy(model);
  rotated->to(type);
  rotate(rotated, options);
  const double change = (rotated->forward(ids(config)) - before).abs().max().item<double>();
  EXPECT_GT(before.std().item<double>(), 0.1);
  EXPECT_FALSE(rotated->config().tied);
  return change;
}

TEST(Rotate, LogitsStayWhatTheyWere) {
  for (const LanguageConfig& config : configs())
    for (const auto kind : {RotateOptions::Kind::Hadamard, RotateOptions::Kind::Random}) {
      for (const bool online : {true, false}) {
        const RotateOptions options{
            .kind = kind, .seed = 2, .online_heads = online, .online_inner = online, .keys = online};
        EXPECT_LT(largest_change(config, options, torch::kFloat64), 1e-9) << config.width;
      }
    }
}

TEST(Rotate, LogitsStayWhatTheyWereInSinglePrecision) {
  LanguageModel model(LanguageConfig::llama(50, 64, 128, 2, 4, 32));
  model->initialize(4);
  const torch::NoGradGuard no_grad;
  const Tensor before = model->forward(ids(model->config()));
  rotate(model);
  EXPECT_LT((model->forward(ids(model->config())) - before).abs().max().item<double>(), 1e-4);
}

TEST(Rotate, SpreadsAnOutlier) {
  LanguageModel model(LanguageConfig::llama(50, 64, 128, 1, 4, 32));
  model->initialize(4, 0.05);
  const torch::NoGradGuard no_grad;
  model->tokens->weight.select(1, 7).mul_(30);
  model->blocks[0]->linear("mlp.down_proj")->weight.select(1, 3).mul_(30);
  const auto peak = [](const Tensor& w) { return (w.abs().max() / w.std()).item<double>(); };
  EXPECT_GT(peak(model->tokens->weight), 15);
  rotate(model);
  EXPECT_LT(peak(model->tokens->weight), 5);
  EXPECT_LT(peak(model->blocks[0]->linear("mlp.down_proj")->weight), 6);
}

TEST(Rotate, WorksBlockByBlock) {
  const LanguageConfig config = LanguageConfig::llama(50, 64, 128, 2, 4, 32);
  LanguageModel whole = planted(config, 1), parts = copy(whole);
  rotate(whole, {.seed = 9});
  const Rotation rotation(config, {.seed = 9});
  LanguageModel ends = copy_ends(parts);
  rotation(ends);
  std::vector<DecoderBlock> blocks;
  for (int64_t i = 0; i < 2; ++i) {
    blocks.push_back(copy(parts->blocks[size_t(i)], i));
    rotation(blocks.back());
  }
  ends->set_blocks(blocks);
  const torch::NoGradGuard no_grad;
  EXPECT_TRUE(ends->forward(ids(config)).equal(whole->forward(ids(config))));
}

TEST(Rotate, OfflineLeavesAStandardModel) {
  LanguageModel model = planted(gpt2(), 2);
  rotate(model, RotateOptions::offline());
  for (const DecoderBlock& block : model->blocks)
    for (const auto& stage : block->stages())
      for (const auto& path : stage) EXPECT_FALSE(block->layer(path)->slot(QuantizableLayer::Place::Input)) << path;
  LanguageModel online = planted(gpt2(), 2);
  rotate(online);
  EXPECT_EQ(spec_of(online->blocks[1]->layer("attn.c_proj")->slot(QuantizableLayer::Place::Input)),
            nlohmann::json({{"kind", "hadamard"}, {"size", 4}, {"stride", 8}}));
}

TEST(Rotate, TheMatrixIsOrthogonal) {
  for (const LanguageConfig& config : configs()) {
    const Tensor q = Rotation(config, {.online_heads = false}).matrix();
    EXPECT_LT((q.mm(q.t()) - torch::eye(config.width, torch::kFloat64)).abs().max().item<double>(), 1e-12);
    if (config.family != Family::Llama) {
      EXPECT_LT((q.sum(0) - 1).abs().max().item<double>(), 1e-12);
    }
  }
}

TEST(Rotate, SaysWhatItCannotDo) {
  const auto message = [](const LanguageConfig& config, const RotateOptions& options = {}) -> std::string {
    try {
      const Rotation rotation(config, options);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(message(LanguageConfig::llama(50, 66, 128, 2, 3, 32)), HasSubstr("residual stream of 66"));
  EXPECT_THAT(message(LanguageConfig::llama(50, 48, 128, 2, 3, 32)), HasSubstr("heads off"));
  EXPECT_THAT(message(LanguageConfig::llama(50, 64, 126, 2, 4, 32)), HasSubstr("inner width of 126"));
  EXPECT_EQ(message(LanguageConfig::llama(50, 66, 126, 2, 1, 32),
                    {.kind = RotateOptions::Kind::Random, .values = false, .online_inner = false}),
            "");
  LanguageModel model(LanguageConfig::llama(50, 64, 128, 1, 4, 32));
  rotate(model);
  EXPECT_THROW(rotate(model), Error);
}

}  // namespace
}  // namespace quanta
