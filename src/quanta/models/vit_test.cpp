#include "quanta/models/vit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "quanta/core/error.h"

namespace quanta {
namespace {

TEST(Vit, ShapesAndParameters) {
  auto net = vit({.input = 16, .patch = 4, .width = 32, .depth = 2, .heads = 4, .mlp = 2, .classes = 7});
  EXPECT_EQ(net->forward(torch::zeros({3, 3, 16, 16})).sizes(), (std::vector<int64_t>{3, 7}));
  // patch 3*16*32+32, positions 16*32, block: 4 norms vectors, qkv, proj, two MLP layers; norm; head.
  const int64_t block = 4 * 32 + (32 * 96 + 96) + (32 * 32 + 32) + (32 * 64 + 64) + (64 * 32 + 32);
  int64_t parameters = 0;
  for (const auto& p : net->parameters()) parameters += p.numel();
  EXPECT_EQ(parameters, (3 * 16 * 32 + 32) + 16 * 32 + 2 * block + 2 * 32 + (32 * 7 + 7));
  EXPECT_EQ(quantizable_layers(*net).size(), 2 * 4 + 2);
  EXPECT_EQ(quantizable_layers(*net)[1].first, "blocks.0.attn.qkv");
}

/// Attention does not know an order: without positions the tokens may be shuffled.
TEST(Vit, TokensMayBeShuffledWithoutPositions) {
  torch::manual_seed(0);
  auto net = vit({.input = 8, .patch = 4, .width = 16, .depth = 2, .heads = 2});
  const auto x = torch::rand({2, 3, 8, 8});
  const auto swapped = torch::cat({x.slice(2, 4, 8), x.slice(2, 0, 4)}, 2);  // upper and lower patches
  const torch::NoGradGuard no_grad;
  EXPECT_FALSE(torch::allclose(net->forward(x), net->forward(swapped), 1e-4, 1e-6));
  for (auto& p : net->named_parameters())
    if (p.key() == "tokens.pos_embed") p.value().zero_();
  EXPECT_TRUE(torch::allclose(net->forward(x), net->forward(swapped), 1e-4, 1e-5));
}

TEST(Vit, BlockIsThatOfLibTorch) {
  torch::manual_seed(0);
  auto net = vit({.input = 8, .patch = 4, .width = 16, .depth = 1, .heads = 4, .mlp = 3});
  const auto ours = net->nodes()[size_t(net->find("blocks.0"))].module;
  torch::nn::MultiheadAttention attention(torch::nn::MultiheadAttentionOptions(16, 4));
  const torch::NoGradGuard no_grad;
  const auto p = ours->named_parameters();
  attention->in_proj_weight.copy_(p["attn.qkv.weight"]);
  attention->in_proj_bias.copy_(p["attn.qkv.bias"]);
  attention->out_proj->weight.copy_(p["attn.proj.weight"]);
  attention->out_proj->bias.copy_(p["attn.proj.bias"]);
  const auto x = torch::randn({3, 5, 16});
  const auto norm = [](const torch::Tensor& t) { return torch::layer_norm(t, {16}, {}, {}, 1e-6); };
  const auto tokens_first = norm(x).transpose(0, 1);
  auto y = x + std::get<0>(attention(tokens_first, tokens_first, tokens_first)).transpose(0, 1);
  const auto hidden = torch::gelu(torch::linear(norm(y), p["mlp.fc1.weight"], p["mlp.fc1.bias"]));
  y = y + torch::linear(hidden, p["mlp.fc2.weight"], p["mlp.fc2.bias"]);
  EXPECT_TRUE(torch::allclose(ours->forward(x), y, 1e-4, 1e-5));
}

TEST(Vit, CopiesShareNothing) {
  auto net = vit({.input = 8, .width = 16, .depth = 1, .heads = 2});
  Network copy(net->copy());
  const auto x = torch::rand({2, 3, 8, 8});
  const torch::NoGradGuard no_grad;
  const auto before = copy->forward(x);
  EXPECT_TRUE(torch::equal(net->forward(x), before));
  for (auto& p : net->parameters()) p.add_(0.1);
  EXPECT_TRUE(torch::equal(copy->forward(x), before));
}

TEST(Vit, Errors) {
  using testing::HasSubstr;
  using testing::ThrowsMessage;
  EXPECT_THAT([] { vit({.input = 30, .patch = 4}); }, ThrowsMessage<Error>(HasSubstr("do not divide an image of 30")));
  EXPECT_THAT([] { vit({.width = 30, .heads = 4}); }, ThrowsMessage<Error>(HasSubstr("4 heads")));
  EXPECT_THAT([] { vit({.depth = 0}); }, ThrowsMessage<Error>(HasSubstr("needs blocks")));
}

}  // namespace
}  // namespace quanta
