#include "quanta/simulate/sampling.h"

#include <gtest/gtest.h>

#include <cmath>

namespace quanta::simulate {
namespace {

std::vector<uint64_t> draw(const std::vector<double>& weights, int64_t shots, const Random& random) {
  std::vector<uint64_t> result(size_t(shots), UINT64_MAX);
  draw_cells(
      weights.size(),
      [&](uint64_t first, uint64_t count, double* out) { std::copy_n(weights.begin() + int64_t(first), count, out); },
      shots, random, [&](int64_t s, uint64_t cell) { result[size_t(s)] = cell; });
  return result;
}

/// Peaks of very different height between long stretches of nothing.
std::vector<double> uneven(size_t cells, Random& random) {
  std::vector<double> weights(cells, 0.0);
  for (double& w : weights)
    if (random.below(3)) w = std::exp(2 * random.normal());
  for (size_t i = cells / 4; i < cells / 2; ++i) weights[i] = 0;
  weights.back() = 0;
  weights[0] = 1;
  return weights;
}

TEST(Sampling, PassesAChiSquareTest) {
  Random random(1);
  for (const size_t cells : {2, 3, 7, 8, 9, 64, 1000, 1 << 15}) {
    const auto weights = uneven(cells, random);
    double total = 0;
    for (const double w : weights) total += w;
    const int64_t shots = 200000;
    std::vector<double> counts(cells, 0.0);
    for (const uint64_t cell : draw(weights, shots, Random(2))) {
      ASSERT_LT(cell, cells);
      ASSERT_GT(weights[cell], 0) << "an impossible cell";
      counts[cell] += 1;
    }
    double chi2 = 0, freedom = -1, rest = 0, rest_expected = 0;  // rare cells together
    const auto add = [&](double seen, double expected) {
      chi2 += (seen - expected) * (seen - expected) / expected;
      freedom += 1;
    };
    for (size_t i = 0; i < cells; ++i) {
      const double expected = weights[i] / total * double(shots);
      if (expected > 10) {
        add(counts[i], expected);
      } else {
        rest += counts[i];
        rest_expected += expected;
      }
    }
    if (rest_expected > 10) add(rest, rest_expected);
    EXPECT_LT(chi2, freedom + 5 * std::sqrt(2 * freedom) + 1) << cells;
  }
}

// Neighbouring shots say nothing about each other.
TEST(Sampling, IsIndependentFromShotToShot) {
  Random random(3);
  const size_t cells = 1 << 12;
  const std::vector<double> weights(cells, 1.0);
  const auto shots = draw(weights, 300000, Random(4));
  double product = 0;
  for (size_t s = 1; s < shots.size(); ++s)
    product += (double(shots[s]) / cells - 0.5) * (double(shots[s - 1]) / cells - 0.5) * 12;
  EXPECT_NEAR(product / double(shots.size()), 0, 4 / std::sqrt(double(shots.size())));
}

TEST(Sampling, DoesNotDependOnThreadsOrTheNumberOfShots) {
  Random random(5);
  const auto weights = uneven(1 << 16, random);
  const int before = threads();
  set_threads(1);
  const auto one = draw(weights, 150000, Random(6));
  set_threads(3);
  EXPECT_EQ(draw(weights, 150000, Random(6)), one);
  set_threads(before);
  EXPECT_EQ(draw(weights, 1000, Random(6)), std::vector<uint64_t>(one.begin(), one.begin() + 1000));
  EXPECT_NE(draw(weights, 150000, Random(7)), one);
}

}  // namespace
}  // namespace quanta::simulate
