#include "quanta/quantize/observer.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include "quanta/core/error.h"
#include "quanta/quantize/fake_quantize.h"
#include "quanta/quantize/histogram.h"

namespace quanta {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

std::pair<double, double> range_of(const Observer& observer) {
  const auto [low, high] = observer.range();
  return {low.item<double>(), high.item<double>()};
}

TEST(Observer, ExtremesByHand) {
  const auto after = [](ObserverKind kind) {
    const auto observer = make_observer({.kind = kind, .decay = 0.75});
    for (const auto& x : {torch::tensor({-4.0f, 8.0f}), torch::tensor({-8.0f, 4.0f}), torch::tensor({0.0f, 2.0f})})
      observer->observe(x);
    return range_of(*observer);
  };
  EXPECT_EQ(after(ObserverKind::Last), std::pair(0.0, 2.0));
  EXPECT_EQ(after(ObserverKind::MinMax), std::pair(-8.0, 8.0));
  EXPECT_EQ(after(ObserverKind::MovingAverage), std::pair(-3.75, 5.75));  // (-4, 8) -> (-5, 7) -> (-3.75, 5.75)
}

TEST(Observer, ChannelsByHand) {
  const auto observer = make_observer({.kind = ObserverKind::MinMax, .axis = 1});
  observer->observe(torch::tensor({{{1.0f, 2.0f}, {-3.0f, 4.0f}}}));
  observer->observe(torch::tensor({{{-1.0f, 0.0f}, {0.0f, 9.0f}}}));
  const auto [low, high] = observer->range();
  EXPECT_TRUE(torch::equal(low, torch::tensor({-1.0f, -3.0f})));
  EXPECT_TRUE(torch::equal(high, torch::tensor({2.0f, 9.0f})));
}

// Bins are joined exactly: growing gives what one histogram of everything gives with the same last bin.
TEST(Observer, HistogramGrowsExactly) {
  torch::manual_seed(1);
  const auto x = torch::randn({20000}, torch::kFloat64);
  Histogram grown, whole;
  grown.limit.fill_(0.25);
  for (const auto& part : {x * 0.01, torch::zeros({7}), x}) grown.add(part);
  EXPECT_GT(grown.limit.item<double>(), 3);
  whole.limit.copy_(grown.limit);
  whole.add(torch::cat({x * 0.01, x}));
  EXPECT_TRUE(torch::equal(grown.counts, whole.counts));
  EXPECT_EQ(grown.zeros.item<double>(), 7);
  EXPECT_EQ(grown.counts.sum().item<double>(), 40000);
}

TEST(Observer, PercentileOfKnownDistributions) {
  const auto ramp = torch::arange(-5000, 5001).to(torch::kFloat32);
  const auto observer = make_observer({.kind = ObserverKind::Percentile, .percentile = 0.98});
  for (const auto& part : ramp.chunk(7)) observer->observe(part);
  EXPECT_NEAR(range_of(*observer).first, -4900, 10);  // within a bin, 5000 / 1024
  EXPECT_NEAR(range_of(*observer).second, 4900, 10);

  const auto rectified = make_observer({.kind = ObserverKind::Percentile, .percentile = 0.9});
  rectified->observe(torch::relu(ramp));  // half of it zeros: 95 % lie below 4500
  EXPECT_EQ(range_of(*rectified).first, 0);
  EXPECT_NEAR(range_of(*rectified).second, 4500, 10);

  const auto negative = make_observer({.kind = ObserverKind::Percentile, .percentile = 0.9});
  negative->observe(-1 - torch::arange(10000).to(torch::kFloat32) / 10000);
  EXPECT_NEAR(range_of(*negative).first, -1.95, 2e-3);
  EXPECT_NEAR(range_of(*negative).second, -1.05, 2e-3);
}

// For a Gaussian in 4 bits the best symmetric grid with 15 steps ends at 2.6 standard deviations (Max 1960: the uniform
// quantizer of 16 levels has the step 0.3352).
TEST(Observer, LeastSquaresOnAGaussian) {
  torch::manual_seed(2);
  const auto observer = make_observer({.kind = ObserverKind::Mse, .bits = 4, .symmetric = true});
  for (int i = 0; i < 10; ++i) observer->observe(torch::randn({20000}));
  const auto [low, high] = range_of(*observer);
  UniformQuantizer q({.bits = 4, .symmetric = true});
  q.set_range(torch::full({1}, low), torch::full({1}, high));
  EXPECT_NEAR(q.params().scale.item<double>(), 0.3352, 0.02);
}

// Uniform values lose nothing to a full range; a lone outlier far off is cut.
TEST(Observer, DivergenceOnKnownDistributions) {
  torch::manual_seed(3);
  const auto flat = make_observer({.kind = ObserverKind::Kl});
  flat->observe(torch::rand({200000}) * 3);
  EXPECT_NEAR(range_of(*flat).second, 3, 0.05);
  EXPECT_NEAR(range_of(*flat).first, 0, 1e-4);

  const auto outlier = make_observer({.kind = ObserverKind::Kl, .symmetric = true});
  auto x = torch::randn({200000});
  x[7] = 100;
  outlier->observe(x);
  EXPECT_LT(range_of(*outlier).second, 10);
  EXPECT_GT(range_of(*outlier).second, 3);
}

TEST(Observer, Refuses) {
  for (const auto kind : {ObserverKind::Last, ObserverKind::MinMax, ObserverKind::MovingAverage,
                          ObserverKind::Percentile, ObserverKind::Mse, ObserverKind::Kl}) {
    const auto observer = make_observer({.kind = kind});
    EXPECT_THAT([&] { observer->range(); }, ThrowsMessage<Error>(HasSubstr("has seen no data")));
    EXPECT_THROW(observer->observe(torch::tensor({1.0f, std::numeric_limits<float>::quiet_NaN()})), Error);
    EXPECT_THROW(observer->observe(torch::tensor({1.0f, -INFINITY})), Error);
    EXPECT_THROW(observer->observe(torch::empty({0})), Error);
  }
  EXPECT_THROW(make_observer({.kind = ObserverKind::Kl, .axis = 0}), Error);
}

TEST(FakeQuantize, CalibratesThenQuantizes) {
  FakeQuantize fake({}, {.kind = ObserverKind::MinMax});
  fake.eval();
  EXPECT_THAT([&] { fake.forward(torch::ones({2})); }, ThrowsMessage<Error>(HasSubstr("has seen no data")));
  fake.observe(true);
  fake.quantize(false);
  const auto x = torch::tensor({-1.0f, 0.3f, 3.0f});
  EXPECT_TRUE(torch::equal(fake.forward(x), x));
  fake.freeze();
  const auto y = fake.forward(x * 10);
  EXPECT_FLOAT_EQ(y[2].item<float>(), 191 * 4.0f / 255);
  EXPECT_FALSE(fake.observing());
  EXPECT_TRUE(torch::equal(fake.copy()->forward(x * 10), y));
}

TEST(FakeQuantize, FollowsTheDataInTraining) {
  FakeQuantize fake({}, {.decay = 0.5});
  fake.train();
  fake.forward(torch::tensor({0.0f, 255.0f}));
  EXPECT_FLOAT_EQ(fake.quantizer().params().scale.item<float>(), 1);
  fake.forward(torch::tensor({0.0f, 765.0f}));
  EXPECT_FLOAT_EQ(fake.quantizer().params().scale.item<float>(), 2);
  const auto twin = fake.copy();
  fake.eval();
  fake.forward(torch::tensor({0.0f, 1e6f}));
  EXPECT_FLOAT_EQ(fake.quantizer().params().scale.item<float>(), 2);
  EXPECT_TRUE(twin->is_training());
}

TEST(FakeQuantize, LearnedScaleStartsWithTheFirstTensor) {
  FakeQuantize fake({.bits = 4, .symmetric = true, .learned = true}, {});
  ASSERT_EQ(fake.parameters().size(), 1u);
  const auto scale = fake.parameters()[0];
  const auto x = torch::randn({100});
  fake.forward(x).sum().backward();
  EXPECT_FLOAT_EQ(scale.item<float>(), float(2 * x.abs().mean().item<double>() / std::sqrt(7)));
  EXPECT_TRUE(scale.grad().defined());
  fake.forward(x * 100);
  EXPECT_FLOAT_EQ(scale.item<float>(), float(2 * x.abs().mean().item<double>() / std::sqrt(7)));
}

}  // namespace
}  // namespace quanta
