#include "quanta/quantize/weight_quantizers.h"

#include <gmock/gmock.h>

#include <cmath>

#include "quanta/core/error.h"
#include "quanta/quantize/rounding.h"
#include "quanta/quantize/uniform.h"

namespace quanta {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

double squared_error(Quantizer& q, const torch::Tensor& x) {
  return (q.forward(x) - x).to(torch::kFloat64).square().sum().item<double>();
}

std::vector<std::shared_ptr<Quantizer>> all_quantizers(int64_t axis) {
  return {std::make_shared<UniformQuantizer>(UniformOptions{.axis = axis}),
          std::make_shared<TernaryQuantizer>(TernaryOptions{.axis = axis}),
          std::make_shared<BinaryQuantizer>(BinaryOptions{.axis = axis}),
          std::make_shared<PowerOfTwoQuantizer>(PowerOfTwoOptions{.axis = axis}),
          std::make_shared<PowerQuantizer>(PowerOptions{.axis = axis}),
          std::make_shared<CodebookQuantizer>(CodebookOptions{.axis = axis}),
          std::make_shared<FixedPointQuantizer>()};
}

TEST(WeightQuantizers, KeepTheInterfacesPromises) {
  torch::manual_seed(1);
  for (const int64_t axis : {-1, 0})
    for (const auto& q : all_quantizers(axis)) {
      SCOPED_TRACE(q->describe());
      EXPECT_THROW(q->encode(torch::ones({3, 4})), Error);  // before fit()
      for (const auto& x : {torch::randn({3, 4, 2, 2}), torch::zeros({3, 5}), torch::full({3, 2}, -0.3),
                            torch::randn({3, 7}) * 1e-41, torch::randn({3, 7}) * 1e30}) {
        q->fit(x);
        const auto codes = q->encode(x), y = q->forward(x);
        EXPECT_EQ(codes.scalar_type(), torch::kInt32);
        EXPECT_TRUE(torch::equal(q->decode(codes), y));
        EXPECT_TRUE(y.isfinite().all().item<bool>());
        EXPECT_TRUE(torch::equal(std::dynamic_pointer_cast<Quantizer>(q->copy())->forward(x), y));
        EXPECT_LE(codes.max().item<int>() - codes.min().item<int>(), (1 << q->bits()) - 1);
      }
      EXPECT_THROW(q->fit(torch::full({3, 2}, NAN)), Error);
      q->fit(torch::randn({3, 4}));
      EXPECT_THROW(q->encode(torch::full({3, 4}, INFINITY)), Error);
    }
}

TEST(FixedPoint, ByHand) {
  FixedPointQuantizer q({.bits = 8, .fraction_bits = 5, .fitted = false});  // Q2.5
  EXPECT_EQ(q.integer_bits(), 2);
  const auto x = torch::tensor({1.0f, 0.046875f, 0.015625f, -4.0f, -9.0f, 9.0f});
  EXPECT_TRUE(torch::equal(q.encode(x), torch::tensor({32, 2, 0, -128, -128, 127}, torch::kInt32)));
  FixedPointQuantizer fitted({.bits = 8});
  fitted.fit(torch::tensor({-1.0f, 3.9f}));
  EXPECT_EQ(fitted.fraction_bits(), 5);  // 3.9 * 32 = 124.8
  fitted.fit(torch::tensor({-4.0f, 3.9f}));
  EXPECT_EQ(fitted.fraction_bits(), 5);  // -128 is a code
  fitted.fit(torch::tensor({3.99f}));
  EXPECT_EQ(fitted.fraction_bits(), 4);  // 127.68 would round to 128
  fitted.fit(torch::tensor({1000.0f}));
  EXPECT_EQ(fitted.fraction_bits(), -3);
}

TEST(Ternary, ByHand) {
  TernaryQuantizer q;
  const auto x = torch::tensor({0.1f, -0.2f, 1.0f, -2.0f, 0.7f});  // mean|w| 0.8, threshold 0.56
  q.fit(x);
  EXPECT_TRUE(torch::equal(q.encode(x), torch::tensor({0, 0, 1, -1, 1}, torch::kInt32)));
  EXPECT_NEAR(q.scale().item<double>(), 3.7 / 3, 1e-6);
}

// The scale is the best for these codes, and 0.7 mean|w| is near the best threshold for a Gaussian (the paper's 0.75
// sigma ~ 0.6 sigma): no scale and no other threshold do better by more than 2 %.
TEST(Ternary, IsNearlyTheBest) {
  torch::manual_seed(2);
  const auto x = torch::randn({20000});
  TernaryQuantizer q;
  q.fit(x);
  const double own = squared_error(q, x);
  const auto codes = q.encode(x);
  for (const double factor : {0.98, 1.02})
    EXPECT_GT((x - codes * q.scale() * factor).square().sum().item<double>(), own);
  for (double t = 0.4; t < 1.2; t += 0.05) {
    TernaryQuantizer other({.threshold = t});
    other.fit(x);
    EXPECT_GT(squared_error(other, x), 0.98 * own) << t;
  }
}

TEST(Binary, ByHandAndBestScale) {
  const auto x = torch::tensor({{0.5f, -1.5f, 0.0f}, {-3.0f, 3.0f, -3.0f}});
  BinaryQuantizer q({.axis = 0});
  q.fit(x);
  EXPECT_TRUE(torch::equal(q.encode(x), torch::tensor({{1, 0, 1}, {0, 1, 0}}, torch::kInt32)));
  EXPECT_TRUE(torch::allclose(q.scale(), torch::tensor({2.0f / 3, 3.0f})));
  const auto leaf = x.clone().requires_grad_();
  q.forward(leaf).sum().backward();
  EXPECT_TRUE(torch::equal(leaf.grad(), torch::tensor({{1.0f, 0.0f, 1.0f}, {0.0f, 0.0f, 0.0f}})));
}

TEST(WeightQuantizers, FollowTheWeightsInTraining) {
  TernaryQuantizer q({.follow = true});
  q.train();
  q.forward(torch::tensor({1.0f, -1.0f}));
  EXPECT_FLOAT_EQ(q.scale().item<float>(), 1);
  q.forward(torch::tensor({3.0f, -3.0f}));
  EXPECT_FLOAT_EQ(q.scale().item<float>(), 3);
  q.eval();
  q.forward(torch::tensor({5.0f, -5.0f}));
  EXPECT_FLOAT_EQ(q.scale().item<float>(), 3);
}

// Every value against a search of the whole table.
TEST(PowerOfTwo, GoesToTheNearest) {
  torch::manual_seed(3);
  const auto x = torch::cat({torch::randn({500}), torch::tensor({0.0f, 1.0f, -1.5f, 3.0f, 0.75f})});
  PowerOfTwoQuantizer q({.bits = 4});
  q.fit(x);
  EXPECT_EQ(q.scale().item<float>(), 4);  // the largest is 3 or a little more
  const auto table = q.decode(torch::arange(-7, 8).to(torch::kInt32));
  const auto nearest = (x.unsqueeze(1) - table.unsqueeze(0)).abs().amin(1);
  EXPECT_TRUE(torch::equal((q.forward(x) - x).abs(), nearest));
  EXPECT_EQ(table[7].item<float>(), 0);
  EXPECT_EQ(table[8].item<float>(), 4.0f / 64);
}

// arXiv 2308.05600 by its specification: a Gaussian's best exponent is 0.63 in 8 to 4 bits with 0.65 of the uniform
// grid's error, a Laplace's is 0.5.
TEST(Power, FindsTheExponentOfKnownDistributions) {
  torch::manual_seed(4);
  const auto gauss = torch::randn({100000});
  PowerQuantizer power({.bits = 6}), uniform({.bits = 6, .exponent = 1});
  power.fit(gauss);
  uniform.fit(gauss);
  EXPECT_NEAR(power.exponent(), 0.63, 0.03);
  EXPECT_NEAR(squared_error(power, gauss) / squared_error(uniform, gauss), 0.65, 0.05);
  const auto laplace = torch::randn({100000}).sign() * -torch::rand({100000}).clamp_min(1e-6).log();
  power.fit(laplace);
  EXPECT_NEAR(power.exponent(), 0.5, 0.05);
}

TEST(Power, OneIsTheUniformGrid) {
  torch::manual_seed(5);
  const auto x = torch::randn({500});
  PowerQuantizer power({.bits = 4, .exponent = 1});
  UniformQuantizer uniform({.bits = 4, .symmetric = true, .narrow = true});
  power.fit(x);
  uniform.fit(x);
  EXPECT_TRUE(torch::equal(power.encode(x), uniform.encode(x)));
  EXPECT_TRUE(torch::allclose(power.forward(x), uniform.forward(x)));
  PowerQuantizer chosen({.bits = 4, .set = {1, 0.65}});
  chosen.fit(x);
  EXPECT_EQ(chosen.exponent(), 0.65);
  PowerQuantizer rectified({.bits = 3, .is_signed = false, .exponent = 0.5});
  rectified.fit(torch::tensor({0.0f, 4.0f}));
  EXPECT_TRUE(torch::equal(rectified.encode(torch::tensor({-1.0f, 0.0f, 1.0f, 4.0f})),
                           torch::tensor({0, 0, 4, 7}, torch::kInt32)));
}

TEST(Codebook, FindsClusters) {
  torch::manual_seed(6);
  const auto centres = torch::tensor({-3.0f, -1.0f, 0.5f, 2.0f});
  const auto x = (centres.unsqueeze(1) + torch::randn({4, 1000}) * 0.05).flatten();
  CodebookQuantizer q({.bits = 2});
  q.fit(x);
  EXPECT_TRUE(torch::allclose(q.table()[0], centres, 0, 0.01));
}

// Of all ways to cut 9 sorted values into 4 runs the one with the least weighted squared error.
TEST(Codebook, EqualsBruteForceOnFewValues) {
  torch::manual_seed(7);
  const auto x = std::get<0>(torch::randn({9}, torch::kFloat64).sort());
  const auto w = torch::rand({9}, torch::kFloat64);
  double best = 1e300;
  const auto cost = [&](int64_t a, int64_t b) {
    const auto v = x.slice(0, a, b), u = w.slice(0, a, b);
    return (u * (v - (u * v).sum() / u.sum()).square()).sum().item<double>();
  };
  for (int64_t a = 1; a < 7; ++a)
    for (int64_t b = a + 1; b < 8; ++b)
      for (int64_t c = b + 1; c < 9; ++c) best = std::min(best, cost(0, a) + cost(a, b) + cost(b, c) + cost(c, 9));
  CodebookQuantizer q({.bits = 2});
  q.fit(x, w);
  const double got = (w * (q.forward(x) - x).square()).sum().item<double>();
  EXPECT_LE(got, 1.35 * best);  // Lloyd's method ends in a local minimum
  // ... in which each value is at its nearest centre and each centre is the mean of its values.
  const auto codes = q.encode(x);
  for (int64_t k = 0; k < 4; ++k)
    if (const auto mine = codes == k; mine.any().item<bool>()) {
      EXPECT_NEAR(q.table()[0][k].item<double>(), ((x * w).index({mine}).sum() / w.index({mine}).sum()).item<double>(),
                  1e-12);
    }
}

TEST(Codebook, RowsHaveTheirOwn) {
  torch::manual_seed(8);
  const auto x = torch::randn({3, 4, 5});
  CodebookQuantizer q({.bits = 3, .axis = 0}), one({.bits = 3});
  q.fit(x);
  one.fit(x[1]);
  EXPECT_TRUE(torch::equal(q.forward(x)[1], one.forward(x[1])));
}

// The whitepaper's specification: a million draws of 0.3 steps have a mean within 0.01 steps.
TEST(StochasticRounding, HasTheRightMean) {
  const QuantParams p = choose_qparams(torch::tensor({-1.0f}), torch::tensor({3.0f}), {});
  const double step = p.scale.item<double>();
  const auto x = torch::full({1000000}, 0.3 * step);
  const auto codes = quantize_stochastic(x, p, Random(1));
  EXPECT_NEAR((dequantize(codes, p).to(torch::kFloat64).mean() / step).item<double>(), 0.3, 0.01);
  EXPECT_EQ(codes.min().item<int>(), 64);
  EXPECT_EQ(codes.max().item<int>(), 65);
  EXPECT_TRUE(torch::equal(codes, quantize_stochastic(x, p, Random(1))));
  EXPECT_FALSE(torch::equal(codes, quantize_stochastic(x, p, Random(2))));
  EXPECT_EQ(quantize_stochastic(torch::tensor({9.0f}), p, Random(1)).item<int>(), 255);
  const auto exact = torch::arange(-64, 192).to(torch::kFloat32) * p.scale;
  EXPECT_LE((dequantize(quantize_stochastic(exact, p, Random(3)), p) - exact).abs().max().item<double>(), 1.001 * step);
}

TEST(WeightQuantizers, Refuse) {
  EXPECT_THAT([] { CodebookQuantizer q({.bits = 9}); }, ThrowsMessage<Error>(HasSubstr("expected 1 to 8")));
  EXPECT_THAT([] { TernaryQuantizer q({.axis = 1}); }, ThrowsMessage<Error>(HasSubstr("got axis 1")));
  EXPECT_THAT([] { PowerQuantizer q({.exponent = 3}); }, ThrowsMessage<Error>(HasSubstr("(0, 1.2]")));
  CodebookQuantizer q;
  EXPECT_THAT([&] { q.fit(torch::ones({2}), -torch::ones({2})); }, ThrowsMessage<Error>(HasSubstr("none negative")));
}

}  // namespace
}  // namespace quanta
