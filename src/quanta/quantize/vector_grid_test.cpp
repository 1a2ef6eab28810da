#include "quanta/quantize/vector_grid.h"

#include <gtest/gtest.h>

#include "quanta/core/error.h"

namespace quanta {
namespace {

using torch::Tensor;

TEST(E8p, HasItsPatternsAndPoints) {
  const Tensor patterns = e8p_patterns(), norms = patterns.square().sum(1);
  EXPECT_EQ(patterns.sizes(), torch::IntArrayRef({256, 8}));
  EXPECT_EQ((norms <= 10).sum().item<int64_t>(), 227);
  EXPECT_EQ((norms == 12).sum().item<int64_t>(), 29);
  EXPECT_EQ(std::get<0>(torch::unique_dim(patterns, 0)).size(0), 256);

  const Tensor points = e8p_points();
  EXPECT_EQ(points.sizes(), torch::IntArrayRef({65536, 8}));
  EXPECT_EQ(std::get<0>(torch::unique_dim(points, 0)).size(0), 65536);
  const Tensor plus = points - 0.25, minus = points + 0.25;
  const Tensor on_plus = (plus - 0.5).frac().abs().amax(1) == 0, on_minus = (minus - 0.5).frac().abs().amax(1) == 0;
  EXPECT_TRUE((on_plus != on_minus).all().item<bool>());
  const Tensor lattice = torch::where(on_plus.unsqueeze(1), plus, minus);
  EXPECT_TRUE((lattice.sum(1).remainder(2) == 0).all().item<bool>());
}

TEST(E8p, EncodesToTheNearestPoint) {
  torch::manual_seed(0);
  const Tensor points = e8p_points();
  EXPECT_TRUE(e8p_encode(points).view(-1).equal(torch::arange(65536, torch::kInt32)));
  const Tensor x = torch::cat({torch::randn({150, 8}), 3 * torch::randn({50, 8}), torch::zeros({1, 8})});
  const Tensor found = e8p_decode(e8p_encode(x));
  for (int64_t i = 0; i < x.size(0); ++i) {
    const double least = (points - x[i]).square().sum(1).min().item<double>();
    EXPECT_NEAR((found[i] - x[i]).square().sum().item<double>(), least, 1e-4) << i;
  }
}

TEST(Ldlq, WithoutCorrelationItIsTheNearestPoint) {
  torch::manual_seed(1);
  const Tensor w = torch::randn({6, 32});
  const Tensor scale = w.square().mean().sqrt() / 0.9, nearest = e8p_decode(e8p_encode(w / scale)) * scale;
  EXPECT_LT((ldlq_e8p(w, torch::eye(32)).weight - nearest).abs().max().item<double>(), 1e-6);
  EXPECT_LT((ldlq_e8p(w, {}).weight - nearest).abs().max().item<double>(), 1e-6);
}

Tensor correlated(int64_t k) {
  torch::manual_seed(2);
  const Tensor x = torch::randn({4 * k, k}, torch::kFloat64).mm(torch::randn({k, k}, torch::kFloat64));
  return x.t().mm(x);
}

TEST(Ldlq, FeedsErrorsBackThroughTheBlockFactors) {
  const Tensor h = correlated(16), w = torch::randn({5, 16}, torch::kFloat64);
  const double scale = w.square().mean().sqrt().item<double>() / 0.9;
  const auto nearest = [](const Tensor& x) { return e8p_decode(e8p_encode(x)).to(torch::kFloat64); };
  const Tensor z = w / scale, last = nearest(z.slice(1, 8));
  // Of two blocks H = L D L' has L_21 = H_21 H_11^-1.
  const Tensor l = h.slice(0, 8).slice(1, 0, 8).mm(h.slice(0, 0, 8).slice(1, 0, 8).inverse());
  const Tensor first = nearest(z.slice(1, 0, 8) + (z.slice(1, 8) - last).mm(l));
  const GptqResult result = ldlq_e8p(w, h, {.damping = 0, .sweeps = 0});
  EXPECT_LT((result.weight - torch::cat({first, last}, 1) * scale).abs().max().item<double>(), 1e-6);
  EXPECT_NEAR(result.loss, output_error(w, result.weight.to(torch::kFloat64), h), 1e-4 * result.loss);
}

TEST(Ldlq, SweepsAndFeedbackLowerTheError) {
  const Tensor h = correlated(64), w = torch::randn({16, 64}, torch::kFloat64);
  const auto error = [&](const GptqResult& r) { return output_error(w, r.weight.to(torch::kFloat64), h); };
  const double nearest = error(ldlq_e8p(w, {})), feedback = error(ldlq_e8p(w, h, {.sweeps = 0})),
               swept = error(ldlq_e8p(w, h));
  EXPECT_LT(feedback, 0.7 * nearest);
  EXPECT_LT(swept, feedback);
}

TEST(Ldlq, CodesStandForThePoints) {
  torch::manual_seed(3);
  const Tensor w = torch::randn({4, 24});
  const GptqResult result = ldlq_e8p(w, correlated(24));
  EXPECT_EQ(result.grid.levels, 12);
  EXPECT_TRUE(dequantize(result.codes, result.grid).equal(result.weight));
  const Tensor scale = w.square().mean().sqrt() / 0.9, indices = e8p_encode(result.weight / scale);
  EXPECT_LT((e8p_decode(indices) * scale - result.weight).abs().max().item<double>(), 1e-6);
}

TEST(Ldlq, BadInputIsRefused) {
  EXPECT_THROW(ldlq_e8p(torch::randn({2, 12}), {}), Error);
  EXPECT_THROW(ldlq_e8p(torch::full({2, 8}, NAN), {}), Error);
  EXPECT_THROW(ldlq_e8p(torch::randn({2, 8}), torch::eye(16)), Error);
  EXPECT_THROW(e8p_encode(torch::randn({3})), Error);
}

}  // namespace
}  // namespace quanta
