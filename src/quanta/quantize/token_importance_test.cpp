#include "quanta/quantize/token_importance.h"

#include <gtest/gtest.h>

#include <limits>

#include "quanta/core/error.h"
#include "quanta/quantize/input_hessian.h"
#include "quanta/quantize/rsq.h"

namespace quanta {
namespace {

using torch::Tensor;

constexpr int64_t kLength = 16, kWidth = 32;

struct Sample {
  DecoderBlock block = nullptr;
  Tensor tokens, h;
};
Sample sample() {
  LanguageModel model(LanguageConfig::llama(10, kWidth, 64, 1, 4, kLength));
  model->initialize(1, 0.3);
  torch::manual_seed(2);
  const Tensor tokens = torch::randint(10, {3, kLength}, torch::kInt64);
  return {model->blocks[0], tokens, model->embed(tokens).detach() + 0.1 * torch::randn({3, kLength, kWidth})};
}

Tensor importance(const Sample& s, const ImportanceOptions& options) {
  TokenImportance importance(options);
  importance.count(s.tokens);
  DecoderBlock block = s.block;
  return importance(block, s.h, s.tokens);
}

/// The linear map from a sequence's range to [0.01, 1].
Tensor min_max(const Tensor& v) {
  const Tensor low = v.amin(-1, true), high = v.amax(-1, true);
  return 0.01 + 0.99 * (v - low) / (high - low);
}

void expect_near(const Tensor& a, const Tensor& b, double tolerance = 1e-4) {
  EXPECT_LT((a - b).abs().max().item<double>(), tolerance) << a << b;
}

Tensor uniform_attention(int64_t T) {
  return torch::ones({1, 1, T, T}).tril() / torch::arange(1, T + 1).view({1, 1, T, 1});
}

TEST(TokenImportance, AttentionIsSummedOverColumns) {
  const Tensor received = attention_received(uniform_attention(3));
  expect_near(received, torch::tensor({{11.0 / 6, 5.0 / 6, 1.0 / 3}}), 1e-6);
  expect_near(TokenImportance({.least = 0.01}).scale(received), torch::tensor({{1.0, 0.34, 0.01}}), 1e-6);
}

TEST(TokenImportance, StrategiesAreWhatTheirDefinitionsSay) {
  const torch::NoGradGuard no_grad;
  const Sample s = sample();
  DecoderBlock block = s.block;
  expect_near(importance(s, {.strategy = "attncon"}), min_max(block->attention_probabilities(s.h).sum(1).sum(1)));
  expect_near(importance(s, {.strategy = "actnorm"}), min_max(s.h.square().sum(-1).sqrt()));
  expect_near(importance(s, {.strategy = "actdiff"}), min_max(-(block->forward(s.h) - s.h).square().sum(-1).sqrt()));
  Tensor similarity = torch::zeros({3, kLength}), dot = similarity.clone(), frequency = similarity.clone();
  for (int64_t b = 0; b < 3; ++b)
    for (int64_t t = 0; t < kLength; ++t) {
      for (int64_t u = 0; u < kLength; ++u) {
        similarity[b][t] += (s.h[b][t] - s.h[b][u]).square().sum() / double(kLength);
        dot[b][t] += s.h[b][t].dot(s.h[b][u]);
      }
      frequency[b][t] = -(s.tokens == s.tokens[b][t]).sum();
    }
  expect_near(importance(s, {.strategy = "tokensim"}), min_max(similarity));
  expect_near(importance(s, {.strategy = "dot"}), min_max(dot));
  expect_near(importance(s, {.strategy = "tokenfreq"}), min_max(frequency));
  expect_near(importance(s, {.strategy = "uniform"}), torch::ones({3, kLength}));
}

TEST(TokenImportance, ClusterIsTheDistanceToTheNearestCentroid) {
  Sample s = sample();
  // Two far groups, one token off each group's point.
  s.h = torch::zeros({1, kLength, kWidth});
  s.h.slice(1, 8) += 100;
  s.h[0][3][0] = 8;
  s.tokens = s.tokens.slice(0, 0, 1);
  // Centroids settle at the groups' means: 7/8 of the offset is left at the outlier, 1/8 at its neighbours.
  const Tensor r = importance(s, {.strategy = "cluster", .clusters = 2});
  Tensor expected = torch::zeros({1, kLength});
  expected.slice(1, 0, 8).fill_(1);
  expected[0][3] = 7;
  expect_near(r, min_max(expected));
  expect_near(importance(s, {.strategy = "cluster"}), torch::ones({1, kLength}));  // every token its own centroid
}

TEST(TokenImportance, ChunksKeepTheirTokens) {
  const Sample s = sample();
  const Tensor first = importance(s, {.strategy = "chunks:0_8"});
  EXPECT_TRUE(first.slice(1, 0, 2).eq(1).all().item<bool>());
  EXPECT_TRUE(first.slice(1, 2).eq(0).all().item<bool>());
  const Tensor ends = importance(s, {.strategy = "chunks:0_3_4"});
  EXPECT_TRUE(ends.slice(1, 4, 12).eq(0).all().item<bool>());
  EXPECT_EQ(ends.sum().item<float>(), 3 * 8);
}

TEST(TokenImportance, OptionsOfTheMap) {
  const Tensor v = torch::tensor({{1.0, 2.0, 3.0, 5.0}});
  const auto scaled = [&](ImportanceOptions options) { return TokenImportance(options).scale(v); };
  const auto row = [](std::vector<double> values) { return torch::tensor(values).unsqueeze(0); };
  using Division = ImportanceOptions::Division;
  expect_near(scaled({.least = 0, .reverse = true}), row({1, 0.75, 0.5, 0}), 1e-6);
  expect_near(scaled({.least = 0, .power = 2}), row({0, 3.0 / 24, 8.0 / 24, 1}), 1e-6);
  expect_near(scaled({.least = 0, .division = Division::Linear}), min_max(row({0.25, 2 / 3.0, 1.5, 5})), 0.011);
  expect_near(scaled({.least = 0, .division = Division::Linear}), row({0, 5.0 / 57, 15.0 / 57, 1}), 1e-6);
  expect_near(scaled({.least = 0, .division = Division::Root, .power = 2}), row({0, 13.0 / 297, 51.0 / 297, 1}), 1e-6);
  expect_near(scaled({.least = 0, .high_quantile = 2.0 / 3}), row({0, 0.5, 1, 1}), 1e-6);
  expect_near(scaled({.least = 0.5, .bins = 2}), row({0.5, 0.5, 1, 1}), 1e-6);
  expect_near(scaled({.least = 0.2, .top = 0.5}), row({0.2, 0.2, 0.6, 1}), 1e-6);
  expect_near(scaled({.least = 0.2, .top = 0.25, .truncate = true}), row({0, 0, 0, 1}), 1e-6);
  expect_near(TokenImportance({}).scale(torch::full({2, 5}, 3.0)), torch::ones({2, 5}), 1e-9);
}

TEST(TokenImportance, MasksActBeforeTheSoftmax) {
  torch::manual_seed(4);
  const int64_t T = 12, heads = 4;
  const double never = -std::numeric_limits<double>::infinity();
  const Tensor scores = torch::randn({2, heads, T, T}, torch::kFloat64) + torch::ones({T, T}).triu(1).mul(1e30).neg();
  const auto expected = [&](auto sees) {
    Tensor masked = scores.clone();
    for (int64_t b = 0; b < 2; ++b)
      for (int64_t head = 0; head < heads; ++head)
        for (int64_t i = 0; i < T; ++i)
          for (int64_t j = 0; j <= i; ++j)
            if (!sees(b, head, i, j)) masked[b][head][i][j] = never;
    return masked.softmax(-1).sum({1, 2});
  };
  const auto received = [&](AttentionMask mask) { return attention_received(scores.softmax(-1), mask); };
  using Kind = AttentionMask::Kind;
  const auto same = [](int64_t i, int64_t j, int64_t shift) { return (i + shift) / 4 == (j + shift) / 4; };
  expect_near(received({}), expected([](auto...) { return true; }), 1e-9);
  expect_near(received({.kind = Kind::Block, .size = 4}),
              expected([&](auto, auto, int64_t i, int64_t j) { return same(i, j, 0); }), 1e-9);
  expect_near(received({.kind = Kind::Window, .size = 3}),
              expected([](auto, auto, int64_t i, int64_t j) { return i - j < 3; }), 1e-9);
  expect_near(received({.kind = Kind::Sink, .size = 3, .sinks = 2}),
              expected([](auto, auto, int64_t i, int64_t j) { return i - j < 3 || j < 2; }), 1e-9);
  expect_near(received({.kind = Kind::Shifted, .size = 4}),
              expected([&](auto, int64_t head, int64_t i, int64_t j) { return same(i, j, head >= 2 ? 2 : 0); }), 1e-9);
  expect_near(received({.kind = Kind::Top, .size = 2}), expected([&](int64_t b, int64_t head, int64_t i, int64_t j) {
                int64_t higher = 0;
                for (int64_t k = 0; k <= i; ++k) higher += (scores[b][head][i][k] > scores[b][head][i][j]).item<bool>();
                return higher < 2 || i == j;
              }),
              1e-9);
}

TEST(TokenImportance, KeptTokensAloneMakeTheHessian) {
  torch::manual_seed(5);
  const Tensor x = torch::randn({4, 8, 6}), r = (torch::rand({4, 8}) < 0.5).to(torch::kFloat32);
  InputHessian all(6, torch::kFloat64);
  all.add(x, token_weights(r, 1));
  Tensor expected = torch::zeros({6, 6}, torch::kFloat64);
  for (int64_t b = 0; b < 4; ++b) {
    const Tensor kept = x[b].index({r[b] > 0}).to(torch::kFloat64);
    expected += kept.t().mm(kept) * (2.0 / 4) * (8.0 / double(kept.size(0)));
  }
  expect_near(all.value(), expected, 1e-5);
}

TEST(TokenImportance, PowersKeepTheMean) {
  const Tensor r = torch::tensor({{1.0, 0.5, 0.5, 0.0}});
  expect_near(token_weights(r, 1), torch::tensor({{2.0, 1.0, 1.0, 0.0}}), 1e-6);
  expect_near(token_weights(r, 2), torch::tensor({{8 / 3.0, 2 / 3.0, 2 / 3.0, 0.0}}), 1e-6);
}

TEST(TokenImportance, FrequenciesBelongToTheTokensInAnyOrder) {
  Sample s = sample();
  const Tensor before = importance(s, {.strategy = "tokenfreq"});
  const Tensor order = torch::tensor({2, 0, 1});
  s.tokens = s.tokens.index_select(0, order);
  s.h = s.h.index_select(0, order);
  EXPECT_TRUE(importance(s, {.strategy = "tokenfreq"}).equal(before.index_select(0, order)));
  // Copies that are shifted count as often as each other.
  TokenImportance expanded({.strategy = "tokenfreq"});
  expanded.count(expand_cyclic(s.tokens, 4));
  EXPECT_TRUE(expanded(s.block, s.h, s.tokens).equal(before.index_select(0, order)));
}

TEST(TokenImportance, ExpansionShiftsToTheRight) {
  const Tensor copies = expand_cyclic(torch::arange(16).unsqueeze(0), 8);
  EXPECT_EQ(copies.size(0), 8);
  EXPECT_TRUE(copies[0].equal(torch::arange(16)));
  EXPECT_TRUE(copies[1].equal(torch::cat({torch::tensor({14, 15}), torch::arange(14)})));
  EXPECT_TRUE(copies[7].equal(torch::cat({torch::arange(2, 16), torch::tensor({0, 1})})));
  EXPECT_THROW(expand_cyclic(torch::arange(15).unsqueeze(0), 8), Error);
}

TEST(TokenImportance, BadOptionsAreRefused) {
  for (const char* strategy :
       {"", "fame", "chunks:", "chunks:3", "chunks:8_8", "chunks:1_x", "chunks:-1_4", "chunks:0_4_"})
    EXPECT_THROW(TokenImportance({.strategy = strategy}), Error) << strategy;
  EXPECT_THROW(TokenImportance({.least = 2}), Error);
  EXPECT_THROW(TokenImportance({.least = -0.1}), Error);
  EXPECT_THROW(TokenImportance({.mask = {.kind = AttentionMask::Kind::Window}}), Error);
  EXPECT_THROW(TokenImportance({.low_quantile = 0.5, .high_quantile = 0.5}), Error);
  Sample s = sample();
  EXPECT_THROW(importance(s, {.strategy = "chunks:0_100"}), Error);  // an empty chunk: no token counts
  s.h[0][0][0] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THROW(importance(s, {.strategy = "actnorm"}), Error);
  DecoderBlock block = s.block;
  EXPECT_THROW(TokenImportance({.strategy = "tokenfreq"})(block, s.h, s.tokens), Error);
}

}  // namespace
}  // namespace quanta
