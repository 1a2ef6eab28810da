#include "quanta/quantize/uniform.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include "quanta/core/error.h"
#include "quanta/core/parallel.h"

namespace quanta {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

torch::Tensor numbers(std::vector<float> v) {
  return torch::tensor(v);
}

UniformQuantizer with_range(double low, double high, const UniformOptions& options = {}) {
  UniformQuantizer q(options);
  q.set_range(numbers({float(low)}), numbers({float(high)}));
  return q;
}

// arXiv 1806.08342: the range [-1, 3] in 8 bits has the step 4/255 and the zero point 64.
TEST(Uniform, WhitepaperExample) {
  UniformQuantizer q = with_range(-1, 3);
  EXPECT_FLOAT_EQ(q.params().scale.item<float>(), 4.0f / 255);
  EXPECT_EQ(q.params().zero_point.item<int>(), 64);
  const auto codes = q.encode(numbers({0, 1, 3, 5, -1}));
  EXPECT_TRUE(torch::equal(codes, torch::tensor({64, 128, 255, 255, 0}, torch::kInt32)));
  EXPECT_TRUE(torch::allclose(q.decode(codes), numbers({0, 1.0039216f, 2.9960784f, 2.9960784f, -1.0039216f})));
}

TEST(Uniform, RangesAreWidenedToHoldZero) {
  const UniformQuantizer q = with_range(2.1, 3.5);
  EXPECT_EQ(q.params().zero_point.item<int>(), 0);
  EXPECT_FLOAT_EQ(q.params().scale.item<float>(), 3.5f / 255);
  const UniformQuantizer below = with_range(-3.5, -2);
  EXPECT_EQ(below.params().zero_point.item<int>(), 255);
  EXPECT_EQ(with_range(0, 0).params().scale.item<float>(), 1);
}

TEST(Uniform, GridsOfEveryKind) {
  const auto check = [](const UniformOptions& o, int64_t qmin, int64_t qmax, double scale) {
    const QuantParams p = choose_qparams(numbers({-3}), numbers({2}), o);
    EXPECT_EQ(p.qmin, qmin);
    EXPECT_EQ(p.qmax, qmax);
    EXPECT_FLOAT_EQ(p.scale.item<float>(), float(scale));
  };
  check({.bits = 4, .symmetric = true}, -8, 7, 3.0 / 7);
  check({.bits = 4, .symmetric = true, .narrow = true}, -7, 7, 3.0 / 7);
  check({.bits = 4, .symmetric = true, .is_signed = false}, 0, 15, 2.0 / 15);
  check({.bits = 4}, 0, 15, 5.0 / 15);
  check({.bits = 1}, 0, 1, 5.0);
  check({.bits = 8, .symmetric = true, .power_of_two = true}, -128, 127, 1.0 / 32);
}

/// The definition, one value at a time in long double; only the ratio is rounded to float, as documented.
float reference(float x, float scale, int64_t zero, int64_t qmin, int64_t qmax) {
  const float ratio = float((long double)x / (long double)scale);
  const long double u =
      std::clamp(std::nearbyint((long double)ratio), (long double)(qmin - zero), (long double)(qmax - zero));
  return float(u * (long double)scale);
}

class Extreme : public testing::TestWithParam<UniformOptions> {};

TEST_P(Extreme, EqualsLongDoubleOnExtremeTensors) {
  torch::manual_seed(1);
  const float tiny = std::numeric_limits<float>::denorm_min(), huge = std::numeric_limits<float>::max();
  auto outlier = torch::randn({97});
  outlier[13] = 1e6;
  for (const auto& x :
       {torch::randn({97}), torch::full({97}, 0.7), torch::full({97}, -2.5), torch::zeros({97}), outlier,
        torch::randint(-50, 50, {97}).to(torch::kFloat32) * tiny, torch::randn({97}).sign() * huge,
        -torch::rand({97}) - 1, torch::arange(97) * 0.5 - 20, torch::randn({97}) * 1e-30, numbers({3})}) {
    UniformQuantizer q(GetParam());
    q.fit(x);
    const QuantParams p = q.params();
    const float scale = p.scale.item<float>();
    ASSERT_TRUE(std::isnormal(scale));
    const auto y = q.forward(x), codes = q.encode(x);
    EXPECT_TRUE(torch::equal(q.decode(codes), y));
    EXPECT_TRUE(torch::equal(q.forward(y), y));  // values of the grid stay
    for (int64_t i = 0; i < x.numel(); ++i) {
      const float v = x[i].item<float>();
      EXPECT_EQ(y[i].item<float>(), reference(v, scale, p.zero_point.item<int>(), p.qmin, p.qmax)) << v;
      // Nothing in the range is farther off than half a step (a whole one for an end that the nudge moved, and a little
      // more at the largest floats). The step of the power of two that holds the largest float would itself overflow.
      if (!(p.scale.item<float>() > 1e30 && GetParam().power_of_two)) {
        ASSERT_LE(std::abs((long double)v - y[i].item<float>()), scale * 1.01L);
      }
    }
    EXPECT_EQ(q.forward(numbers({0})).item<float>(), 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Grids, Extreme,
                         testing::Values(UniformOptions{}, UniformOptions{.bits = 3}, UniformOptions{.bits = 16},
                                         UniformOptions{.bits = 8, .symmetric = true, .narrow = true},
                                         UniformOptions{.bits = 2, .symmetric = true},
                                         UniformOptions{.bits = 5, .symmetric = true, .power_of_two = true}));

TEST(Uniform, ChannelsAndGroupsAreTensorsOfTheirOwn) {
  torch::manual_seed(2);
  const auto x = torch::randn({3, 4, 5, 6});
  for (const int64_t axis : {0, 1, 3}) {
    UniformQuantizer q({.bits = 4, .axis = axis});
    q.fit(x);
    const auto y = q.forward(x);
    EXPECT_TRUE(torch::equal(q.decode(q.encode(x)), y));
    for (int64_t c = 0; c < x.size(axis); ++c) {
      UniformQuantizer one({.bits = 4});
      one.fit(x.select(axis, c));
      EXPECT_TRUE(torch::equal(one.forward(x.select(axis, c)), y.select(axis, c))) << axis << " " << c;
    }
  }
  UniformQuantizer grouped({.bits = 4, .axis = 0, .group = 30});
  grouped.fit(x);
  EXPECT_EQ(grouped.params().scale.sizes().vec(), (std::vector<int64_t>{3, 4}));
  UniformQuantizer rows({.bits = 4, .axis = 0});
  rows.fit(x.view({12, 30}));
  EXPECT_TRUE(torch::equal(grouped.forward(x).view({12, 30}), rows.forward(x.view({12, 30}))));
  EXPECT_TRUE(torch::equal(grouped.decode(grouped.encode(x)), grouped.forward(x)));
}

TEST(Uniform, LayoutInMemoryDoesNotMatter) {
  torch::manual_seed(3);
  const auto x = torch::randn({2, 8, 5, 7});
  const auto last = x.contiguous(torch::MemoryFormat::ChannelsLast),
             strided = torch::randn({2, 8, 5, 14}).slice(3, 0, 14, 2).copy_(x);
  for (const int64_t axis : {-1, 1}) {
    UniformQuantizer q({.bits = 3, .axis = axis});
    q.fit(x);
    for (const auto& other : {last, strided}) {
      EXPECT_TRUE(torch::equal(q.forward(other), q.forward(x)));
      const auto leaf = other.detach().requires_grad_(), plain = x.detach().clone().requires_grad_();
      const auto up = torch::randn(x.sizes());
      (q.forward(leaf) * up).sum().backward();
      (q.forward(plain) * up).sum().backward();
      EXPECT_TRUE(torch::equal(leaf.grad(), plain.grad()));
    }
  }
}

TEST(Uniform, ThreadsDoNotMatter) {
  torch::manual_seed(4);
  const auto x = torch::randn({200000});
  const int before = threads();
  std::vector<torch::Tensor> values, gradients;
  for (const int count : {1, 3}) {
    set_threads(count);
    UniformQuantizer q({.bits = 4, .learned = true, .range = RangeMethod::Mse});
    q.fit(x);
    const auto y = q.forward(x);
    (y * y).sum().backward();
    values.push_back(y.detach());
    gradients.push_back(q.parameters()[0].grad());
  }
  set_threads(before);
  EXPECT_TRUE(torch::equal(values[0], values[1]));
  EXPECT_TRUE(torch::equal(gradients[0], gradients[1]));
}

// The mask is that of the nudged range: [-1, 3] in 2 bits has the step 4/3 and the zero point 1, so it ends at 8/3, not
// at 3, and begins at -4/3, not at -1.
TEST(Uniform, GradientPassesInTheNudgedRange) {
  UniformQuantizer q = with_range(-1, 3, {.bits = 2});
  const auto x = numbers({-1.34f, -1.33f, -0.2f, 0, 2.66f, 2.67f, 2.9f}).requires_grad_();
  (q.forward(x) * numbers({1, 2, 3, 4, 5, 6, 7})).sum().backward();
  EXPECT_TRUE(torch::equal(x.grad(), numbers({0, 2, 3, 4, 5, 0, 0})));
}

TEST(Uniform, NotANumberStaysOneAndHasNoCode) {
  UniformQuantizer q = with_range(-1, 1);
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  auto x = torch::zeros({40});
  x[37] = nan;
  EXPECT_TRUE(q.forward(x).isnan()[37].item<bool>());
  EXPECT_THROW(q.encode(x), Error);
  EXPECT_THROW(q.fit(x), Error);
  x[37] = 0;
  x[3] = inf;
  EXPECT_EQ(q.forward(x)[3].item<float>(), q.forward(numbers({100})).item<float>());
  EXPECT_THROW(q.encode(x), Error);
  EXPECT_THROW(q.fit(x), Error);
}

// LSQ, arXiv 1902.08153, equations 3 and 5, section 2.2: the formula, one value at a time.
TEST(Uniform, LearnedStepHasThePublishedGradientAndStart) {
  torch::manual_seed(5);
  for (const bool is_signed : {true, false}) {
    UniformQuantizer q({.bits = 3, .symmetric = true, .is_signed = is_signed, .axis = 0, .learned = true});
    const auto x = torch::randn({4, 50}).requires_grad_();
    q.fit(x);
    const double top = is_signed ? 3 : 7, bottom = is_signed ? -4 : 0;
    const auto scale = q.parameters()[0];
    EXPECT_TRUE(torch::allclose(scale, 2 * x.abs().mean(1) / std::sqrt(top)));
    const auto up = torch::randn({4, 50});
    (q.forward(x) * up).sum().backward();
    for (int64_t c = 0; c < 4; ++c) {
      double sum = 0;
      for (int64_t i = 0; i < 50; ++i) {
        const double v = x[c][i].item<double>() / scale[c].item<double>();
        const double slope = v <= bottom ? bottom : v >= top ? top : std::nearbyint(v) - v;
        sum += slope * up[c][i].item<double>();
        EXPECT_EQ(x.grad()[c][i].item<float>(), v > bottom && v < top ? up[c][i].item<float>() : 0);
      }
      EXPECT_NEAR(scale.grad()[c].item<double>(), sum / std::sqrt(50 * top), 1e-5);
    }
  }
}

// Where the rounding is held fixed, d x^ / d scale is the code: what central differences of decode() give, less the
// straight-through part x / scale inside the range.
TEST(Uniform, LearnedStepsGradientIsThatOfDecoding) {
  const auto x = torch::tensor({-9.0, -0.7, 0.4, 1.3, 8.0}, torch::kFloat64);
  const auto codes = torch::tensor({-4, -1, 0, 1, 3}, torch::kInt32);
  UniformQuantizer q({.bits = 3, .symmetric = true, .learned = true});
  q.set_params({torch::ones({1}, torch::kFloat64), torch::zeros({1}, torch::kInt32), -4, 3, -1, 0});
  ASSERT_TRUE(torch::equal(q.encode(x), codes));
  q.forward(x).sum().backward();
  const double inside = -0.7 + 0.4 + 1.3;
  EXPECT_NEAR(q.parameters()[0].grad().item<double>(), ((-4 - 1 + 0 + 1 + 3) - inside) / std::sqrt(5 * 3.0), 1e-12);
}

TEST(Uniform, MseRangeIsTheBestOfItsHundred) {
  torch::manual_seed(6);
  for (const double norm : {2.0, 2.4}) {
    const UniformOptions o{.bits = 3, .symmetric = true, .axis = 0, .range = RangeMethod::Mse, .norm = norm};
    const auto x = torch::randn({3, 400}) * torch::tensor({{1.0f}, {1e-3f}, {50.0f}});
    UniformQuantizer q(o);
    q.fit(x);
    const auto error = [&](const torch::Tensor& y) { return (x.to(torch::kFloat64) - y).abs().pow(norm).mean(1); };
    const auto got = error(q.forward(x));
    auto best = torch::full({3}, 1e300, torch::kFloat64);
    const auto [low, high] = extremes(x, 0);
    for (int i = 0; i < 100; ++i)
      best = torch::minimum(best,
                            error(fake_quantize(x, choose_qparams(low * (1 - i / 100.0), high * (1 - i / 100.0), o))));
    EXPECT_TRUE(torch::allclose(got, best, 1e-4)) << got << best;
    UniformQuantizer widest({.bits = 3, .symmetric = true, .axis = 0});
    widest.fit(x);
    EXPECT_TRUE((got < error(widest.forward(x))).all().item<bool>());
  }
}

TEST(Uniform, PercentileRangeIsTheOrderStatistic) {
  const auto x = torch::randperm(1001).to(torch::kFloat32) - 500;
  UniformQuantizer q({.range = RangeMethod::Percentile, .percentile = 0.9});
  q.fit(x);  // -450 .. 450
  EXPECT_FLOAT_EQ(q.params().scale.item<float>(), 900.0f / 255);
}

TEST(Uniform, CopiesShareNothing) {
  UniformQuantizer q({.bits = 4, .axis = 0, .learned = true});
  q.fit(torch::randn({3, 5}));
  const auto twin = std::dynamic_pointer_cast<UniformQuantizer>(q.copy());
  const auto x = torch::randn({3, 5});
  EXPECT_TRUE(torch::equal(twin->forward(x), q.forward(x)));
  const torch::NoGradGuard no_grad;
  twin->parameters()[0].mul_(2);
  EXPECT_FALSE(torch::equal(twin->forward(x), q.forward(x)));
}

TEST(Uniform, Refuses) {
  EXPECT_THAT([] { UniformQuantizer q({.bits = 17}); }, ThrowsMessage<Error>(HasSubstr("expected 1 to 16")));
  EXPECT_THAT([] { UniformQuantizer q({.bits = 1, .symmetric = true}); },
              ThrowsMessage<Error>(HasSubstr("BinaryQuantizer")));
  EXPECT_THAT([] { UniformQuantizer().forward(torch::ones({2})); }, ThrowsMessage<Error>(HasSubstr("no scale yet")));
  EXPECT_THAT([] { with_range(1, -1); }, ThrowsMessage<Error>(HasSubstr("no range")));
  EXPECT_THAT([] { with_range(0, INFINITY); }, ThrowsMessage<Error>(HasSubstr("no range")));
  EXPECT_THAT(
      [] {
        UniformQuantizer({.axis = 2}).fit(torch::ones({2, 2}));
      },
      ThrowsMessage<Error>(HasSubstr("has 2 dimensions")));
  EXPECT_THAT(
      [] {
        UniformQuantizer({.axis = 0, .group = 3}).fit(torch::ones({2, 4}));
      },
      ThrowsMessage<Error>(HasSubstr("do not divide")));
  UniformQuantizer q({.axis = 0});
  q.fit(torch::ones({3, 2}));
  EXPECT_THAT(
      [&] {
        q.forward(torch::ones({2, 2}));
      },
      ThrowsMessage<Error>(HasSubstr("3 scales for a tensor that needs 2")));
}

}  // namespace
}  // namespace quanta
