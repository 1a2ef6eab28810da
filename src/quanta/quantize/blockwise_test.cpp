#include "quanta/quantize/blockwise.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "quanta/core/error.h"
#include "quanta/core/parallel.h"
#include "quanta/core/random.h"
#include "quanta/core/temporary_folder.h"
#include "quanta/quantize/layerwise_method.h"

namespace quanta {
namespace {

using quanta::testing::TemporaryFolder;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

LanguageModel small_model() {
  LanguageModel model(LanguageConfig::llama(40, 32, 64, 3, 4, 24));
  model->initialize(1, 0.2);
  return model;
}

torch::Tensor some_tokens(int64_t sequences) {
  quanta::Random random(5);
  torch::Tensor tokens = torch::empty({sequences, 24}, torch::kInt64);
  for (int64_t i = 0; i < tokens.numel(); ++i) tokens.view(-1)[i] = int64_t(random.below(40));
  return tokens;
}

std::shared_ptr<const GridRule> grid(int bits) {
  return std::make_shared<AffineGrid>(AffineGridOptions{.bits = bits, .group = 16});
}

TEST(CollectInputs, ShowsWhatTheWeightsSeeInOrder) {
  const TemporaryFolder folder;
  LanguageModel model = small_model();
  const torch::Tensor tokens = some_tokens(50), h = model->embed(tokens).detach();
  ActivationStore store(folder / "h", 50, 24, 32);
  store.set(0, h);
  DecoderBlock block = model->blocks[0];
  std::vector<torch::Tensor> norms, products;
  int64_t expected = 0;
  collect_inputs(block, {"self_attn.k_proj", "mlp.down_proj"}, store, [&](int64_t first, const auto& x) {
    EXPECT_EQ(first, expected);
    expected += x[0].size(0);
    norms.push_back(x[0]);
    products.push_back(x[1]);
  });
  EXPECT_EQ(expected, 50);
  const torch::NoGradGuard no_grad;
  EXPECT_TRUE(torch::allclose(torch::cat(norms), block->attention_norm->forward(h), 1e-6, 1e-6));
  // What down_proj makes of its input is what the block's second half adds.
  const torch::Tensor middle = block->attend(h);
  EXPECT_TRUE(torch::allclose(block->linear("mlp.down_proj")->forward(torch::cat(products)),
                              block->transform(middle) - middle, 1e-4, 1e-5));
  EXPECT_FALSE(block->layer("mlp.down_proj")->slot(QuantizableLayer::Place::Input));  // the taps are gone
}

TEST(Blockwise, PropagatesWhatTheQuantizedBlocksPutOut) {
  const TemporaryFolder folder;
  LanguageModel model = small_model();
  const torch::Tensor tokens = some_tokens(20);
  // Listens to what it is given, then rounds.
  struct Listening : RoundToNearest {
    using RoundToNearest::RoundToNearest;
    std::vector<LayerResult> quantize(std::vector<DecoderBlock>& blocks, const BlockInputs& inputs) override {
      seen.push_back(inputs.inputs->get(0, inputs.inputs->sequences()));
      return RoundToNearest::quantize(blocks, inputs);
    }
    std::vector<torch::Tensor> seen;
  } method(grid(3));
  BlockwiseResult result = quantize_in_memory(model, tokens, method, {.work = folder.path()});
  const torch::NoGradGuard no_grad;
  torch::Tensor h = result.model->embed(tokens);
  for (size_t b = 0; b < 3; ++b) {
    EXPECT_TRUE(torch::allclose(method.seen[b], h, 1e-5, 1e-6)) << b;
    h = result.model->blocks[b]->forward(h);
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));

  // The ledger's last KL is that of the two models' predictions.
  const torch::Tensor probe = tokens.slice(0, 0, 4);
  const torch::Tensor p = model->forward(probe).log_softmax(-1), q = result.model->forward(probe).log_softmax(-1);
  EXPECT_NEAR(result.ledger.blocks.back().kl, (p.exp() * (p - q)).sum(-1).mean().item<double>(), 1e-5);
  EXPECT_EQ(result.ledger.blocks.size(), 3);
  EXPECT_EQ(result.ledger.blocks[0].layers.size(), 7);
  // And the first layer's error is that of its outputs.
  const torch::Tensor x = model->blocks[0]->attention_norm->forward(model->embed(tokens));
  const torch::Tensor w = model->blocks[0]->linear("self_attn.q_proj")->weight;
  const torch::Tensor d = w - result.model->blocks[0]->linear("self_attn.q_proj")->weight;
  EXPECT_NEAR(result.ledger.blocks[0].layers[0].error,
              (torch::matmul(x, d.t()).square().sum() / torch::matmul(x, w.t()).square().sum()).item<double>(), 1e-5);
}

TEST(Blockwise, GptqErrsLessThanRoundingInEveryLayer) {
  const TemporaryFolder folder;
  LanguageModel model = small_model();
  for (const int bits : {2, 3, 4}) {
    GptqMethod method(grid(bits), {.act_order = true}, true);
    const auto result = quantize_in_memory(model, some_tokens(40), method, {.work = folder.path()});
    for (const auto& block : result.ledger.blocks)
      for (const auto& layer : block.layers) EXPECT_LE(layer.error, layer.rounded_error) << layer.name;
  }
}

TEST(Blockwise, DoesNotDependOnTheNumberOfThreads) {
  const TemporaryFolder folder;
  LanguageModel model = small_model();
  const int before = threads();
  std::vector<torch::Tensor> logits;
  for (const int count : {1, 2, 3}) {
    set_threads(count);
    GptqMethod method(grid(3), {}, false);
    auto result = quantize_in_memory(model, some_tokens(60), method, {.work = folder.path()});
    set_threads(1);
    logits.push_back(result.model->forward(some_tokens(1)));
  }
  set_threads(before);
  EXPECT_TRUE(torch::equal(logits[0], logits[1]));
  EXPECT_TRUE(torch::equal(logits[0], logits[2]));
}

TEST(Blockwise, OnePassOrSeveralMakeNoDifference) {
  const TemporaryFolder folder;
  LanguageModel model = small_model();
  const auto logits = [&](int64_t memory) {
    GptqMethod method(grid(3), {}, false);
    auto result = quantize_in_memory(model, some_tokens(30), method, {.work = folder.path(), .memory = memory});
    return result.model->forward(some_tokens(1));
  };
  EXPECT_TRUE(torch::equal(logits(0), logits(1)));
}

TEST(Blockwise, StopsWhenALayerIsRuined) {
  const TemporaryFolder folder;
  LanguageModel model = small_model();
  struct Ruining : RoundToNearest {
    using RoundToNearest::RoundToNearest;
    LayerResult solve(const std::string& path, const torch::Tensor& weight, const torch::Tensor& h) override {
      return RoundToNearest::solve(path, path == "mlp.up_proj" ? torch::full_like(weight, 0.3) : weight, h);
    }
  } method(grid(4));
  try {
    quantize_in_memory(model, some_tokens(4), method, {.work = folder.path()});
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("layers.0.mlp.up_proj"));
    EXPECT_THAT(error.what(), HasSubstr("one code only"));
  }
  EXPECT_EQ(quantize_in_memory(model, some_tokens(4), method, {.work = folder.path(), .allow_ruined = true})
                .ledger.blocks.size(),
            3);
}

TEST(Ledger, ComparesTwoArtifacts) {
  const TemporaryFolder folder;
  LanguageModel model = small_model();
  RoundToNearest rounding(grid(3));
  GptqMethod method(grid(3), {}, false);
  const auto a = quantize_in_memory(model, some_tokens(20), rounding, {.work = folder.path()}).ledger;
  const auto b = quantize_in_memory(model, some_tokens(20), method, {.work = folder.path()}).ledger;
  const Ledger read = Ledger::from_json(a.to_json(), "a");
  EXPECT_EQ(read.to_json(), a.to_json());
  EXPECT_THAT(compare(read, b), HasSubstr("layers.2.mlp.down_proj"));
  Ledger other = b;
  other.blocks.pop_back();
  EXPECT_THROW(compare(a, other), Error);
  EXPECT_THROW(Ledger::from_json({{"method", 3}}, "x"), Error);
}

}  // namespace
}  // namespace quanta
