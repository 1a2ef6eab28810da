#include "quanta/quantize/rsq.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "quanta/core/error.h"
#include "quanta/core/random.h"
#include "quanta/core/temporary_folder.h"
#include "quanta/quantize/blockwise.h"
#include "quanta/quantize/stored_transform.h"

namespace quanta {
namespace {

using quanta::testing::TemporaryFolder;
using torch::Tensor;

LanguageModel small_model() {
  LanguageModel model(LanguageConfig::llama(40, 32, 64, 2, 4, 24));
  model->initialize(1, 0.2);
  return model;
}

Tensor some_tokens() {
  torch::manual_seed(6);
  return torch::randint(40, {24, 24}, torch::kInt64);
}

/// Keeps what it is told of every layer.
struct Watched : RsqMethod {
  using RsqMethod::RsqMethod;
  LayerResult solve(const std::string& path, const Tensor& weight, const Tensor& hessian) override {
    hessians.emplace(path, hessian);  // of the first block
    LayerResult result = RsqMethod::solve(path, weight, hessian);
    codes.push_back(result.matrix.codes);
    bits[path] = result.matrix.bits;
    return result;
  }
  std::map<std::string, Tensor> hessians;
  std::map<std::string, int> bits;
  std::vector<Tensor> codes;
};

LanguageModel run(Watched& method) {
  const TemporaryFolder folder;
  return quantize_in_memory(small_model(), some_tokens(), method, {.work = folder.path()}).model;
}

TEST(Rsq, TokensOfEqualImportanceGiveQuaRot) {
  Watched quarot(RsqOptions{.importance = std::nullopt}), weighted(RsqOptions{}),
      constant(RsqOptions{.importance = ImportanceOptions{.strategy = "uniform"}});
  run(quarot);
  run(constant);
  run(weighted);
  ASSERT_EQ(quarot.codes.size(), 14);
  int changed = 0;
  for (size_t i = 0; i < 14; ++i) {
    EXPECT_TRUE(quarot.codes[i].equal(constant.codes[i])) << i;
    changed += !quarot.codes[i].equal(weighted.codes[i]);
  }
  EXPECT_GT(changed, 10);
}

TEST(Rsq, WithoutRotationAndImportanceItIsGptq) {
  const AffineGridOptions grid{.bits = 3, .kind = AffineKind::Signed, .search = true};
  Watched plain(RsqOptions{.rotation = std::nullopt, .importance = std::nullopt});
  GptqMethod gptq(std::make_shared<AffineGrid>(grid), {}, true);
  const TemporaryFolder folder;
  const LanguageModel expected = quantize_in_memory(small_model(), some_tokens(), gptq, {.work = folder.path()}).model;
  const LanguageModel found = run(plain);
  const auto a = expected->named_parameters(), b = found->named_parameters();
  for (const auto& item : a) EXPECT_TRUE(item.value().equal(b[item.key()])) << item.key();
}

TEST(Rsq, ImportanceCanBeKeptToSomeLayers) {
  Watched all(RsqOptions{}), none(RsqOptions{.importance = std::nullopt}),
      some(RsqOptions{.apply_to = {"v_proj", "down_proj"}});
  run(all);
  run(none);
  run(some);
  for (const auto& [path, hessian] : some.hessians) {
    const bool weighted = path == "self_attn.v_proj" || path == "mlp.down_proj";
    // What comes before down_proj differs by its quantized predecessors, which saw other tokens.
    if (path.starts_with("self_attn") && !path.ends_with("o_proj")) {
      EXPECT_TRUE(hessian.equal((weighted ? all : none).hessians.at(path))) << path;
      EXPECT_FALSE(hessian.equal((weighted ? none : all).hessians.at(path))) << path;
    }
  }
  EXPECT_FALSE(some.hessians.at("self_attn.v_proj").equal(some.hessians.at("self_attn.k_proj")));
}

TEST(Rsq, OtherGrids) {
  Watched down(RsqOptions{.int8_down = true}), vectors(RsqOptions{.e8p = true}),
      normal(RsqOptions{.grid = {.bits = 4, .kind = AffineKind::NormalFloat}});
  run(down);
  run(vectors);
  run(normal);
  EXPECT_EQ(down.bits.at("mlp.down_proj"), 8);
  EXPECT_EQ(down.bits.at("mlp.up_proj"), 3);
  EXPECT_EQ(vectors.bits.at("mlp.up_proj"), 4);  // levels of E8P's coordinates
  EXPECT_EQ(normal.bits.at("mlp.up_proj"), 4);
}

TEST(Rsq, FlowIsQuantizedBehindTheRotations) {
  Watched method(
      RsqOptions{.rotation = RotateOptions{.keys = true}, .flow = {.activations = 4, .keys = 4, .values = 4}});
  LanguageModel model = run(method);
  const DecoderBlock& block = model->blocks[0];
  const auto kinds = [](const Slot& slot) {
    const nlohmann::json spec = spec_of(slot);
    if (!spec.contains("links")) return std::vector<std::string>{spec.at("kind")};
    std::vector<std::string> names;
    for (const auto& link : spec["links"]) names.push_back(link["kind"]);
    return names;
  };
  using Place = QuantizableLayer::Place;
  const std::vector<std::string> both{"hadamard", "dynamic"}, one{"dynamic"};
  EXPECT_EQ(kinds(block->layer("mlp.down_proj")->slot(Place::Input)), both);
  EXPECT_EQ(kinds(block->layer("self_attn.o_proj")->slot(Place::Input)), both);
  EXPECT_EQ(kinds(block->layer("self_attn.q_proj")->slot(Place::Input)), one);
  EXPECT_EQ(kinds(block->layer("self_attn.v_proj")->slot(Place::Output)), one);
  EXPECT_EQ(kinds(block->key), both);
  const torch::NoGradGuard no_grad;
  EXPECT_TRUE(model->forward(some_tokens()).isfinite().all().item<bool>());
}

/// Important tokens lie in a subspace of 12 of 64 dimensions; weighting them spends the error on the others.
TEST(Rsq, PlantedImportanceIsProtected) {
  for (uint64_t seed = 0; seed < 3; ++seed) {
    torch::manual_seed(int64_t(seed));
    const Tensor b = torch::randn({12, 64}) / std::sqrt(12.0), w = torch::randn({48, 64});
    const auto draw = [&](int64_t n) {
      const Tensor important = torch::rand({n}) < 0.1;
      const Tensor x = torch::where(important.unsqueeze(1), torch::randn({n, 12}).mm(b), torch::randn({n, 64}));
      return std::pair(x, important);
    };
    const auto [x, important] = draw(1024);
    const auto [test, test_important] = draw(4096);
    const auto solved = [&](const Tensor& r) {
      InputHessian hessian(64);
      hessian.add(x.unsqueeze(0), token_weights(r.unsqueeze(0), 1));
      const AffineGrid grid({.bits = 3, .kind = AffineKind::Signed, .search = true});
      return gptq(w, hessian.value(), grid).weight;
    };
    const Tensor plain = solved(torch::ones({1024}));
    const Tensor weighted = solved(torch::where(important, torch::ones({1024}), torch::full({1024}, 0.01)));
    const auto error = [&](const Tensor& q, const Tensor& which) {
      return test.index({which}).mm((w - q).t()).square().mean().item<double>();
    };
    EXPECT_LT(error(weighted, test_important), 0.5 * error(plain, test_important)) << seed;
    EXPECT_GT(error(weighted, ~test_important), 1.1 * error(plain, ~test_important)) << seed;
  }
}

TEST(Rsq, SaysWhatItCannotDo) {
  EXPECT_THROW(RsqMethod(RsqOptions{.power = 3}), Error);
  EXPECT_THROW(RsqMethod(RsqOptions{.flow = {.activations = 1}}), Error);
  EXPECT_THROW(RsqMethod(RsqOptions{}).check(LanguageConfig::llama(50, 66, 128, 2, 3, 32)), Error);
  EXPECT_THROW(
      RsqMethod(RsqOptions{.e8p = true, .rotation = std::nullopt}).check(LanguageConfig::llama(50, 36, 64, 1, 4, 32)),
      Error);
  EXPECT_NE(RsqMethod(RsqOptions{}).settings(), RsqMethod(RsqOptions{.power = 2}).settings());
}

}  // namespace
}  // namespace quanta
