#include "quanta/simulate/metric.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "quanta/circuit/ansaetze.h"
#include "quanta/circuit/naive.h"
#include "quanta/circuit/random_circuit.h"
#include "quanta/core/error.h"
#include "quanta/simulate/simulator.h"

namespace quanta {
namespace {

using naive::random_values;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;
using Values = std::vector<double>;
using Blocks = std::vector<std::vector<int>>;

Values metric(const Circuit& circuit, const Values& weights, const Values& inputs = {}, int64_t batch = 1,
              const MetricOptions& options = {}) {
  Values g(weights.size() * weights.size(), 7);
  MetricTensor<double>(circuit, options)(batch, weights.data(), inputs.data(), g.data());
  return g;
}

/// -1/2 d^2/dd_i dd_j |<psi(w)|psi(w + d)>|^2 at d = 0, by central differences.
Values by_overlaps(const Circuit& circuit, const Values& weights, const Values& inputs) {
  const Simulator<double> simulator(circuit);
  const auto state = [&](const Values& w) {
    naive::State psi(size_t{1} << circuit.wires());
    simulator.states(1, w.data(), inputs.data(), psi.data());
    return psi;
  };
  const auto here = state(weights);
  const size_t n = weights.size();
  constexpr double h = 1e-3;
  Values g(n * n);
  for (size_t i = 0; i < n; ++i)
    for (size_t j = 0; j < n; ++j)
      for (const double a : {h, -h})
        for (const double b : {h, -h}) {
          Values moved = weights;
          moved[i] += a;
          moved[j] += b;
          g[i * n + j] -= std::norm(naive::inner(here, state(moved))) / (8 * a * b);
        }
  return g;
}

void expect_near(const Values& a, const Values& b, double tolerance) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], tolerance) << i;
}

TEST(Metric, ClosedForms) {
  Circuit ry(1);
  ry.ry(0, weight());
  expect_near(metric(ry, {0.7}), {0.25}, 1e-14);
  Circuit rz(1);
  rz.rz(0, weight());  // a phase of |0>
  expect_near(metric(rz, {0.7}), {0}, 1e-14);
  Circuit bloch(1);
  bloch.ry(0, weight()).rz(0, weight());  // the sphere: (d theta^2 + sin^2 theta d phi^2) / 4
  expect_near(metric(bloch, {0.7, 0.4}), {0.25, 0, 0, std::pow(std::sin(0.7), 2) / 4}, 1e-14);
  Circuit product(4);
  for (int q = 0; q < 4; ++q) product.rx(q, weight());
  Values expected(16);
  for (int i = 0; i < 4; ++i) expected[i * 5] = 0.25;
  expect_near(metric(product, {0.1, 0.2, 0.3, 0.4}), expected, 1e-14);
  Circuit scaled(1);
  scaled.ry(0, weight() * input(0));  // g = x^2 / 4, its mean over x = 1, 3
  expect_near(metric(scaled, {0.3}, {1, 3}, 2), {10.0 / 8}, 1e-14);
}

TEST(Metric, AgreesWithOverlaps) {
  for (int trial = 0; trial < 20; ++trial) {
    Random random(uint64_t(40 + trial));
    const Circuit c = naive::random_circuit(3, 10, random);
    const Values w = random_values(size_t(c.weights()), random, 1), x = random_values(size_t(c.inputs()), random, 1);
    expect_near(metric(c, w, x), by_overlaps(c, w, x), 2e-5);
  }
  Random random(39);
  Circuit c(2);
  c.amplitude_encoding().ry(0, weight()).crx(0, 1, weight()).cu(1, 0, weight(), weight(), weight(0), 0.2);
  const Values w = random_values(4, random, 1), x = random_values(4, random);
  expect_near(metric(c, w, x), by_overlaps(c, w, x), 2e-5);
}

TEST(Metric, BlocksAreLayers) {
  const auto blocks = [](const Circuit& c) { return MetricTensor<double>(c, {.block_diagonal = true}).blocks(); };
  Circuit c(3);
  for (int layer = 0; layer < 2; ++layer) {
    for (int q = 0; q < 3; ++q) c.ry(q, weight());
    c.cnot_chain();
  }
  EXPECT_THAT(blocks(c), ElementsAre(std::vector{0, 1, 2}, std::vector{3, 4, 5}));
  EXPECT_THAT(MetricTensor<double>(c).blocks(), ElementsAre(std::vector{0, 1, 2, 3, 4, 5}));
  Circuit order(2);  // parallel whatever the order in which they were added; inputs do not count
  order.rx(0, weight()).rz(0, weight()).rx(0, input(0)).rx(1, weight()).u(1, weight(), weight(), 0.1);
  EXPECT_THAT(blocks(order), ElementsAre(std::vector{0, 2}, std::vector{1, 3, 4}));
  Circuit shared(1);
  shared.rx(0, weight(0)).ry(0, weight(2)).rx(0, weight(0) * input(0) + weight(3));  // weight 1 is read nowhere
  EXPECT_THAT(blocks(shared), ElementsAre(std::vector{0, 3}, std::vector{2}));
  EXPECT_EQ(blocks(Circuit(2)), Blocks{});
}

TEST(Metric, BlockElementsAreThoseOfTheFullMetric) {
  Random random(50);
  Circuit c(4);
  strongly_entangling(c, 3);
  const Values w = random_values(size_t(c.weights()), random);
  const Values full = metric(c, w), part = metric(c, w, {}, 1, {.block_diagonal = true});
  const auto blocks = MetricTensor<double>(c, {.block_diagonal = true}).blocks();
  EXPECT_EQ(blocks.size(), 9);  // 3 rotations of each qubit, 3 times
  const size_t n = w.size();
  Values expected(n * n);
  for (const auto& block : blocks)
    for (const int i : block)
      for (const int j : block) expected[i * n + j] = full[i * n + j];
  expect_near(part, expected, 1e-13);
  double outside = 0;
  for (size_t i = 0; i < n * n; ++i) outside = std::max(outside, std::abs(full[i] - part[i]));
  EXPECT_GT(outside, 1e-2);
}

TEST(Metric, Float) {
  Random random(51);
  Circuit c(3);
  strongly_entangling(c, 2);
  const Values w = random_values(size_t(c.weights()), random);
  const std::vector<float> single(w.begin(), w.end());
  Values g(w.size() * w.size());
  const MetricTensor<float> single_metric(c);
  single_metric(1, single.data(), nullptr, g.data());
  expect_near(g, metric(c, w), 1e-5);
}

TEST(Metric, NaturalGradientSolves) {
  Random random(52);
  constexpr size_t n = 7;
  const Values a = random_values(n * n, random);
  Values g(n * n), gradient = random_values(n, random);
  for (size_t i = 0; i < n; ++i)
    for (size_t j = 0; j < n; ++j)
      for (size_t k = 0; k < n; ++k) g[i * n + j] += a[i * n + k] * a[j * n + k];
  const Values x = natural_gradient(g, gradient, 0.1);
  for (size_t i = 0; i < n; ++i) {
    double sum = 0.1 * x[i];
    for (size_t j = 0; j < n; ++j) sum += g[i * n + j] * x[j];
    EXPECT_NEAR(sum, gradient[i], 1e-11);
  }
  EXPECT_THAT(
      [] {
        natural_gradient({1, 1, 1, 1}, {1, 2}, 0);
      },
      ThrowsMessage<Error>(HasSubstr("not positive definite at weight 1")));
  EXPECT_THROW(natural_gradient({1, 1, 1}, {1, 2}), Error);
  EXPECT_THROW(natural_gradient({1}, {1}, -1), Error);
}

TEST(Metric, NaturalGradientDoesNotDependOnTheParametrization) {
  // RY(w) and RY(5 w) reach the same state; a natural step changes the angle by the same amount.
  for (const double scale : {1.0, 5.0}) {
    Circuit c(1);
    c.ry(0, scale * weight());
    const Values w{0.4 / scale};
    const double gradient = -scale * std::sin(0.4);
    EXPECT_NEAR(scale * natural_gradient(metric(c, w), {gradient}, 0)[0], -4 * std::sin(0.4), 1e-12);
  }
}

TEST(Metric, Refuses) {
  Circuit c(2);
  c.ry(0, weight());
  const Values w{0.3};
  EXPECT_THAT([&] { metric(c, w, {}, 0); }, ThrowsMessage<Error>(HasSubstr("batch of 1 or more, got 0")));
  Circuit large(30);
  for (int q = 0; q < 30; ++q) large.ry(q, weight());
  EXPECT_THAT([&] { metric(large, Values(30)); }, ThrowsMessage<Error>(HasSubstr("tangents on 30 qubits takes")));
}

}  // namespace
}  // namespace quanta
