#include "quanta/variational/optimizer.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "quanta/core/error.h"
#include "quanta/core/random.h"

namespace quanta {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pointwise;
using ::testing::ThrowsMessage;

using Point = std::span<const double>;
constexpr double kPi = std::numbers::pi;

double valley(Point x) {
  return 10 * (x[0] + 1) * (x[0] + 1) + x[1] * x[1];
}

// sum_i (i + 1) (x_i - i)^2: 0 at (0, 1, ..., P - 1).
double bowl(Point x) {
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) sum += double(i + 1) * (x[i] - double(i)) * (x[i] - double(i));
  return sum;
}
double bowl_gradient(Point x, std::span<double> gradient) {
  for (size_t i = 0; i < x.size(); ++i) gradient[i] = 2 * double(i + 1) * (x[i] - double(i));
  return bowl(x);
}
const Objective kBowl(bowl, bowl_gradient, [](Point x, std::span<double> metric) {
  std::ranges::fill(metric, 0);
  for (size_t i = 0; i < x.size(); ++i) metric[i * x.size() + i] = 2 * double(i + 1);
});

bool never_increases(const std::vector<double>& trace) {
  return std::ranges::is_sorted(trace, std::greater<>());
}

// The oracles of Cobyla are its definition and what an independent implementation needed (61 and 111 evaluations).

TEST(Cobyla, FindsTheMinimumOfAValley) {
  const Minimum found = minimize(valley, {1, 1}, Cobyla{.rho_begin = 0.5, .rho_end = 1e-4});
  EXPECT_THAT(found.x, ElementsAre(DoubleNear(-1, 1e-3), DoubleNear(0, 1e-3)));
  EXPECT_LE(found.evaluations, 150);
  EXPECT_EQ(found.value, valley(found.x));
  EXPECT_EQ(found.reason, "tolerance");
  EXPECT_EQ(found.trace.size(), size_t(found.evaluations));
  EXPECT_TRUE(never_increases(found.trace));
}

TEST(Cobyla, FindsTheMinimumInFiveDimensions) {
  const Minimum found = minimize(bowl, {0, 0, 0, 0, 0}, Cobyla{});
  EXPECT_LT(found.value, 1e-6);
  EXPECT_LE(found.evaluations, 250);
}

TEST(Cobyla, StartsWithASimplexAlongTheAxes) {
  std::vector<std::vector<double>> points;
  const auto recorded = [&](Point x) {
    points.emplace_back(x.begin(), x.end());
    return bowl(x);
  };
  const Minimum found = minimize(recorded, {0.5, 0.25, -1, 3}, Cobyla{.max_evaluations = 5, .rho_begin = 0.75});
  EXPECT_EQ(found.reason, "evaluations");
  ASSERT_EQ(points.size(), 5u);
  EXPECT_THAT(points[0], ElementsAre(0.5, 0.25, -1, 3));
  std::vector<double> pole = points[0];
  for (size_t i = 0; i < 4; ++i) {
    std::vector<double> expected = pole;
    expected[i] += 0.75;
    EXPECT_THAT(points[i + 1], Pointwise(DoubleNear(1e-14), expected)) << i;
    if (bowl(points[i + 1]) < bowl(pole)) pole = points[i + 1];
  }
}

TEST(Cobyla, BearsNoise) {
  Random random(3);
  const auto noisy = [&](Point x) { return bowl(x) + 0.01 * random.normal(); };
  const Minimum found = minimize(noisy, {1, 0, 0}, Cobyla{.max_evaluations = 300, .rho_end = 1e-2});
  EXPECT_LT(bowl(found.x), 0.1);
}

TEST(NelderMead, FindsTheMinimum) {
  const Minimum found = minimize(valley, {1, 1}, NelderMead{});
  EXPECT_THAT(found.x, ElementsAre(DoubleNear(-1, 1e-5), DoubleNear(0, 1e-5)));
  EXPECT_TRUE(never_increases(found.trace));
}

TEST(Lbfgs, MinimizesRosenbrocksFunction) {
  const Objective banana([](Point) { return 0.0; },
                         [](Point x, std::span<double> gradient) {
                           const double a = 1 - x[0], b = x[1] - x[0] * x[0];
                           gradient[0] = -2 * a - 400 * x[0] * b;
                           gradient[1] = 200 * b;
                           return a * a + 100 * b * b;
                         });
  const Minimum found = minimize(banana, {-1.2, 1}, Lbfgs{});
  EXPECT_THAT(found.x, ElementsAre(DoubleNear(1, 1e-5), DoubleNear(1, 1e-5)));
  EXPECT_LE(found.evaluations, 100);
}

TEST(GradientDescent, ContractsAQuadraticByItsFactorEachStep) {
  const Minimum found = minimize(kBowl, {3, 3}, GradientDescent{.iterations = 7, .step = 0.1});
  EXPECT_THAT(found.x,
              ElementsAre(DoubleNear(3 * std::pow(0.8, 7), 1e-14), DoubleNear(1 + 2 * std::pow(0.6, 7), 1e-14)));
  EXPECT_EQ(found.evaluations, 8);
  EXPECT_EQ(found.iterations, 7);
  EXPECT_EQ(found.values.front(), bowl(std::vector<double>{3, 3}));
}

TEST(Adam, MovesBySteps) {
  // With constant signs the first step is `step` along every axis, whatever the gradient's size.
  const Minimum first = minimize(kBowl, {3, 3}, Adam{.iterations = 1, .step = 0.25});
  EXPECT_THAT(first.x, ElementsAre(DoubleNear(2.75, 1e-8), DoubleNear(2.75, 1e-8)));
  EXPECT_LT(minimize(kBowl, {3, 3, 3}, Adam{.iterations = 500}).value, 1e-6);
}

TEST(NaturalGradient, WithTheHessianIsNewtonsMethod) {
  const Minimum found = minimize(kBowl, {4, -2, 7}, NaturalGradient{.iterations = 1, .step = 1, .regularization = 0});
  EXPECT_THAT(found.x, ElementsAre(DoubleNear(0, 1e-14), DoubleNear(1, 1e-14), DoubleNear(2, 1e-14)));
}

TEST(NaturalGradient, SolvesWithAFullMetric) {
  // metric^-1 g with metric = {{4, 2}, {2, 3}}, g = {8, 8}: {1, 2}.
  const Objective tilted([](Point) { return 0.0; },
                         [](Point, std::span<double> gradient) {
                           std::ranges::fill(gradient, 8);
                           return 0.0;
                         },
                         [](Point, std::span<double> metric) {
                           std::ranges::copy(std::vector<double>{4, 2, 2, 3}, metric.begin());
                         });
  const Minimum found = minimize(tilted, {0, 0}, NaturalGradient{.iterations = 1, .step = 1, .regularization = 0});
  EXPECT_THAT(found.x, ElementsAre(DoubleNear(-1, 1e-14), DoubleNear(-2, 1e-14)));
}

TEST(Spsa, FindsTheMinimumUnderNoise) {
  for (const uint64_t seed : {0, 1, 2}) {
    Random random(seed);
    const auto noisy = [&](Point x) { return bowl(x) + 0.01 * random.normal(); };
    const Minimum found = minimize(noisy, {1, 0, 0}, Spsa{.iterations = 300, .a = 0.3, .seed = seed});
    EXPECT_LT(bowl(found.x), 0.05) << seed;
    EXPECT_EQ(found.evaluations, 601);
  }
}

TEST(Spsa, CalibratesTheFirstStep) {
  // |f(x + c d) - f(x - c d)| / (2 c) is 2 for 2 x, so the first step moves x by `first_step` exactly.
  const auto line = [](Point x) { return 2 * x[0]; };
  const Minimum found = minimize(line, {0}, Spsa{.iterations = 1, .calibrations = 5, .first_step = 0.3});
  EXPECT_NEAR(found.x[0], -0.3, 1e-12);
}

TEST(Spsa, BlockingRefusesStepsThatRaiseTheValue) {
  // Steps far too long: without blocking it diverges.
  const Spsa wild{.iterations = 100, .a = 50, .A = 0};
  EXPECT_GT(minimize(bowl, {1, 0}, wild).value, 100);
  Spsa blocked = wild;
  blocked.allowed_increase = 0;
  EXPECT_LE(minimize(bowl, {1, 0}, blocked).value, bowl(std::vector<double>{1, 0}));
}

TEST(Spsa, IsReproducible) {
  EXPECT_EQ(minimize(bowl, {1, 0}, Spsa{.seed = 5}).x, minimize(bowl, {1, 0}, Spsa{.seed = 5}).x);
  EXPECT_NE(minimize(bowl, {1, 0}, Spsa{.seed = 5}).x, minimize(bowl, {1, 0}, Spsa{.seed = 6}).x);
}

TEST(Rotosolve, SolvesSeparableSinusoidsInOneSweep) {
  const auto waves = [](Point x) { return 2 * std::sin(x[0] + 0.3) + 0.5 * std::cos(x[1]) - 1; };
  const Minimum found = minimize(waves, {0.1, 0.2}, Rotosolve{});
  EXPECT_THAT(found.x, ElementsAre(DoubleNear(-kPi / 2 - 0.3, 1e-7), DoubleNear(kPi, 1e-7)));
  EXPECT_NEAR(found.values[1], -3.5, 1e-12);
  EXPECT_EQ(found.iterations, 2);
  // 1, then 2 parameters with 2 evaluations, one more as a check in the first sweep, and one a sweep.
  EXPECT_EQ(found.evaluations, 1 + (2 * 3 + 1) + (2 * 2 + 1));
}

TEST(Rotosolve, ConvergesOnAProduct) {
  const auto product = [](Point x) { return std::cos(x[0]) * std::cos(x[1] + 1) * std::sin(x[2]); };
  EXPECT_NEAR(minimize(product, {0.4, 0.3, 0.2}, Rotosolve{}).value, -1, 1e-9);
}

TEST(Rotosolve, TakesSeveralFrequencies) {
  // Least value by brute force over 10^6 points of the period 4 pi.
  const auto wave = [](Point x) {
    return std::cos(x[0] / 2 + 0.2) + 0.7 * std::cos(x[0] - 1) + 0.4 * std::sin(1.5 * x[0]);
  };
  double least = 10;
  for (int i = 0; i < 1000000; ++i) least = std::min(least, wave(std::vector<double>{4 * kPi * i / 1e6}));
  EXPECT_NEAR(minimize(wave, {0.1}, Rotosolve{.frequencies = 3, .base = 0.5}).value, least, 1e-9);
}

TEST(Rotosolve, RefusesAnotherStructure) {
  EXPECT_THAT(
      [] {
        minimize([](Point x) { return std::cos(x[0]) + std::cos(2 * x[1]); }, {0.1, 0.2}, Rotosolve{});
      },
      ThrowsMessage<Error>(HasSubstr("along parameter 1 the objective is no trigonometric polynomial of 1 ")));
}

TEST(Aqgd, TakesTheStepOfItsDefinition) {
  const Minimum found = minimize([](Point x) { return std::cos(x[0]); }, {1}, Aqgd{.iterations = {1}});
  EXPECT_NEAR(found.x[0], 1 + 0.75 * std::sin(1.0), 1e-12);
  EXPECT_EQ(found.evaluations, 4);
  // m2 = 0.75 g2 + 0.25 m1
  const double x1 = found.x[0], m2 = -0.75 * std::sin(x1) + 0.25 * (1 - x1);
  EXPECT_NEAR(minimize([](Point x) { return std::cos(x[0]); }, {1}, Aqgd{.iterations = {2}}).x[0], x1 - m2, 1e-12);
}

// -ln sin^2(x / 2), clipped as classifiers do: the shift rule of the objective is not its derivative.
TEST(Aqgd, ShiftsTheObjectiveOrFollowsTheChainRule) {
  const auto p = [](double x) { return std::clamp(std::pow(std::sin(x / 2), 2), 1e-12, 1 - 1e-12); };
  const Objective loss([&](Point x) { return -std::log(p(x[0])); },
                       [&](Point x, std::span<double> gradient) {
                         gradient[0] = -(p(x[0] + kPi / 2) - p(x[0] - kPi / 2)) / 2 / p(x[0]);
                         return -std::log(p(x[0]));
                       });
  Aqgd method{.iterations = {1}, .eta = {1}, .momentum = {0}};
  EXPECT_NEAR(minimize(loss, {kPi / 2}, method).x[0], kPi / 2 + 13.81551, 1e-5);
  method.mode = Aqgd::Mode::ChainRule;
  const Minimum chain = minimize(loss, {kPi / 2}, method);
  EXPECT_NEAR(chain.x[0], kPi / 2 + 1, 1e-9);
  EXPECT_EQ(chain.evaluations, 2);
}

TEST(Aqgd, StopsByItsCriteria) {
  const auto wave = [](Point x) { return std::cos(x[0]); };
  // A stationary start: the loss stays for `averaging` iterations.
  Aqgd method{.parameter_tolerance = 0, .averaging = 4};
  EXPECT_EQ(minimize(wave, {0}, method).iterations, 5);
  EXPECT_EQ(minimize(wave, {0}, method).reason, "tolerance");
  // By parameters: the second iteration finds the start unchanged.
  EXPECT_EQ(minimize(wave, {0}, Aqgd{}).iterations, 1);
}

// The published check compares with x0, so an orbit that returns there stops, though its last step was long.
TEST(Aqgd, MayCompareWithTheStart) {
  const auto line = [](Point x) { return x[0] * x[0] / kPi; };  // its shift rule gives x, and eta = 2 mirrors x
  Aqgd method{.iterations = {10}, .eta = {2}, .momentum = {0}, .tolerance = 0};
  EXPECT_EQ(minimize(line, {1}, method).iterations, 10);
  method.compat_param_check = true;
  EXPECT_EQ(minimize(line, {1}, method).iterations, 2);
}

TEST(Aqgd, HasStages) {
  const auto wave = [](Point x) { return std::cos(x[0]); };
  const Minimum staged = minimize(wave, {1}, Aqgd{.iterations = {1, 1}, .eta = {1, 0.5}, .momentum = {0, 0}});
  const double x1 = 1 + std::sin(1.0);
  EXPECT_NEAR(staged.x[0], x1 + 0.5 * std::sin(x1), 1e-12);
}

TEST(Minimize, StopsWhenTheCallbackSaysSo) {
  for (const Optimizer& optimizer : std::vector<Optimizer>{Cobyla{}, NelderMead{}, Lbfgs{}, GradientDescent{}, Adam{},
                                                           NaturalGradient{}, Spsa{}, Aqgd{}}) {
    int calls = 0;
    const auto third = [&](const OptimizerStep& step) {
      EXPECT_EQ(step.iteration, ++calls);
      EXPECT_EQ(step.x.size(), 5u);
      return calls < 3;
    };
    const Minimum found = minimize(kBowl, {0, 0, 0, 0, 0}, optimizer, third);
    EXPECT_EQ(found.reason, "callback") << name(optimizer);
    EXPECT_EQ(found.iterations, 3) << name(optimizer);
    EXPECT_EQ(found.value, bowl(found.x)) << name(optimizer);
  }
}

TEST(Minimize, PassesExceptionsOn) {
  for (const Optimizer& optimizer : std::vector<Optimizer>{Cobyla{}, Spsa{}})
    EXPECT_THAT([&] { minimize([](Point) -> double { fail("no energy"); }, {0}, optimizer); },
                ThrowsMessage<Error>("no energy"));
}

TEST(Minimize, RefusesBadInput) {
  const auto message = [](const Optimizer& optimizer, const char* text) {
    EXPECT_THAT([&] { minimize(bowl, {1, 2}, optimizer); }, ThrowsMessage<Error>(HasSubstr(text)));
  };
  message(Aqgd{.iterations = {1, 2}}, "AQGD: 2 iterations, 1 eta and 1 momentum, expected lists of equal length");
  message(Aqgd{.momentum = {1}}, "AQGD: momentum is 1, expected a number in [0, 1)");
  message(Aqgd{.iterations = {0}}, "AQGD: iterations is 0, expected at least 1");
  message(Aqgd{.mode = Aqgd::Mode::ChainRule}, "AQGD: the objective has no gradient");
  message(Cobyla{.max_evaluations = 0}, "max_evaluations is 0");
  message(Cobyla{.rho_begin = 1e-5},
          "COBYLA: rho_begin is 1e-05 and rho_end 0.0001, expected 0 < rho_end <= rho_begin");
  message(Spsa{.c = 0}, "SPSA: a is 0.2, c 0");
  message(Rotosolve{.sweeps = 0}, "Rotosolve: sweeps is 0");
  message(Adam{}, "Adam: the objective has no gradient");
  message(NelderMead{.step = -1}, "Nelder-Mead: step is -1");
  EXPECT_THAT(
      [] {
        minimize(Objective(bowl, bowl_gradient), {1, 2}, NaturalGradient{});
      },
      ThrowsMessage<Error>("natural gradient: the objective has no metric"));
  EXPECT_THAT([] { minimize(bowl, {}, Cobyla{}); }, ThrowsMessage<Error>(HasSubstr("no parameters")));
  EXPECT_THAT([] { minimize([](Point) { return NAN; }, {1}, Cobyla{}); },
              ThrowsMessage<Error>("optimizer: the objective is nan at evaluation 1"));
}

}  // namespace
}  // namespace quanta
