#include "quanta/nn/quantum_dense.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "quanta/core/error.h"
#include "quanta/nn/gradient_check.h"

namespace quanta {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;
using torch::kFloat64;
using torch::Tensor;

/// In float64, with weights(layer, qubit, angle).
template <class Layer>
Layer with_weights(Layer layer, const std::function<double(int, int, int)>& weights) {
  layer->to(kFloat64);
  const torch::NoGradGuard no_grad;
  const int n = layer->circuit().wires();
  for (int64_t i = 0; i < layer->circuit().weights(); ++i)
    layer->weights.select(1, i).fill_(weights(int(i / (3 * n)), int(i / 3 % n), int(i % 3)));
  return layer;
}

void expect_values(const Tensor& values, const std::vector<double>& expected, double tolerance = 1e-10) {
  ASSERT_EQ(values.numel(), int64_t(expected.size()));
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(values.view(-1)[i].item<double>(), expected[i], tolerance);
}

double spec_weight(int l, int q, int k) {
  return 0.1 * (1 + l) + 0.05 * q + 0.02 * k;
}
Tensor spec_input() {
  return torch::tensor({{0.2, 0.4, 0.6, 0.8, 1.0}}, kFloat64);
}

// U1 to U4 are the exact values of the paper's specification.
TEST(QuantumDense, EmbeddingAndReadoutAlone) {
  const auto x = torch::linspace(-3, 3, 7, kFloat64).view({7, 1});
  const auto run = [&](char embedding, char readout) {
    QuantumDense layer(QuantumDenseOptions{.qubits = 1, .depth = 0, .embedding = embedding, .readout = readout});
    layer->to(kFloat64);
    return layer(x);
  };
  EXPECT_TRUE(torch::allclose(run('X', 'Y'), -torch::sin(x), 0, 1e-14));  // U1
  EXPECT_TRUE(torch::allclose(run('X', 'Z'), torch::cos(x), 0, 1e-14));
  EXPECT_TRUE(torch::allclose(run('Y', 'X'), torch::sin(x), 0, 1e-14));
}

TEST(QuantumDense, ThreeQubitsOneLayer) {  // U2
  const auto layer = with_weights(QuantumDense(QuantumDenseOptions{.qubits = 3, .depth = 1}),
                                  [](int, int q, int k) { return 0.1 * (k + 1) * (q + 1); });
  const auto x = torch::tensor({{0.3, 0.7, 1.1}}, kFloat64);
  expect_values(QuantumDense(layer)(x), {-0.0191170258, -0.2561147598, 0.0098067934});
}

TEST(QuantumDense, FiveQubitsThreeLayers) {  // U3
  QuantumDense layer = with_weights(QuantumDense(), spec_weight);
  expect_values(layer(spec_input()), {0.1266567818, -0.0270953950, 0.0805979614, -0.0308038498, 0.0465230144});
}

TEST(QuantumDense, ZeroWeights) {  // U4
  QuantumDense layer = with_weights(QuantumDense(QuantumDenseOptions{.depth = 1}), [](int, int, int) { return 0.0; });
  expect_values(layer(spec_input()), {0, 0, 0, 0, 0.0374340622});
}

TEST(QuantumDense, GradientsAgreeWithParameterShift) {  // U7
  QuantumDense layer = with_weights(QuantumDense(), spec_weight);
  const auto x = spec_input().set_requires_grad(true);
  const auto weighting = torch::tensor({0.3, -0.7, 1.1, 0.9, -0.4}, kFloat64);
  const auto objective = [&] { return (layer(x) * weighting).sum(); };
  objective().backward();
  const torch::NoGradGuard no_grad;
  for (const auto& variable : {Tensor(x), layer->weights}) {
    for (int64_t i = 0; i < variable.numel(); ++i) {
      auto element = variable.view(-1)[i];
      element.add_(std::numbers::pi / 2);
      const double up = objective().item<double>();
      element.sub_(std::numbers::pi);
      const double down = objective().item<double>();
      element.add_(std::numbers::pi / 2);
      EXPECT_NEAR(variable.grad().view(-1)[i].item<double>(), (up - down) / 2, 1e-10);
    }
  }
}

TEST(QuantumDense, StrongEntanglerReachesFurtherInEachLayer) {
  const auto c = quantum_dense_circuit({.qubits = 4, .depth = 4, .entangler = Entangler::Strong});
  std::vector<int> reach;
  for (const auto& op : c.operations())
    if (op.kind == GateKind::CX && op.wires[0] == 0) reach.push_back(op.wires[1]);
  EXPECT_EQ(reach, (std::vector<int>{1, 2, 3, 1}));
  EXPECT_EQ(c.weights(), 48);
  // Two qubits: the ring is CNOT(0,1), CNOT(1,0). One: nothing.
  EXPECT_EQ(quantum_dense_circuit({.qubits = 2, .depth = 1}).operations().size(), 2 + 6 + 2);
  EXPECT_EQ(quantum_dense_circuit({.qubits = 1, .depth = 1}).operations().size(), 1 + 3);
}

TEST(ParallelQuantum, IsCircuitsSideBySideWithOwnWeights) {
  ParallelQuantum parallel(4);
  EXPECT_EQ(parallel->weights.sizes(), (std::vector<int64_t>{4, 45}));
  const auto x = torch::rand({6, 20});
  const auto y = parallel(x);
  for (int i = 0; i < 4; ++i) {
    QuantumDense one;
    {
      const torch::NoGradGuard no_grad;
      one->weights.copy_(parallel->weights.slice(0, i, i + 1));
    }
    EXPECT_TRUE(torch::equal(one(x.slice(1, 5 * i, 5 * i + 5)), y.slice(1, 5 * i, 5 * i + 5)));
  }
  EXPECT_FALSE(torch::allclose(parallel->weights[0], parallel->weights[1]));
}

TEST(ParallelQuantum, GradientsAgreeWithDifferences) {
  ParallelQuantum layer(2, QuantumDenseOptions{.qubits = 3, .depth = 2});
  layer->to(kFloat64);
  const auto x = torch::randn({3, 6}, kFloat64).set_requires_grad(true);
  expect_gradient([&] { return layer(x); }, x);
  expect_gradient([&] { return layer(x); }, layer->weights);
}

TEST(QuantumDense, BadOptionsAndInput) {
  EXPECT_THAT([] { QuantumDense(QuantumDenseOptions{.qubits = 0}); },
              ThrowsMessage<Error>(HasSubstr("at least 1 qubit")));
  EXPECT_THAT([] { QuantumDense(QuantumDenseOptions{.embedding = 'Z'}); }, ThrowsMessage<Error>(HasSubstr("X or Y")));
  EXPECT_THAT([] { QuantumDense(QuantumDenseOptions{.readout = 'I'}); }, ThrowsMessage<Error>(HasSubstr("X, Y or Z")));
  EXPECT_THAT([] { QuantumDense(QuantumDenseOptions{.depth = -1}); }, ThrowsMessage<Error>(HasSubstr("depth")));
  EXPECT_THAT([] { ParallelQuantum(0); }, ThrowsMessage<Error>(HasSubstr("at least 1")));
  EXPECT_THAT(
      [] {
        ParallelQuantum(4)(torch::rand({2, 5}));
      },
      ThrowsMessage<Error>(HasSubstr("ParallelQuantum: expected [batch, 20], got [2, 5]")));
}

}  // namespace
}  // namespace quanta
