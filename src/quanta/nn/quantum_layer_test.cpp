#include "quanta/nn/quantum_layer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "quanta/core/error.h"
#include "quanta/nn/gradient_check.h"
#include "quanta/nn/init.h"

namespace quanta {
namespace {

using testing::HasSubstr;
using torch::kFloat64;
using torch::Tensor;

/// A circuit with shared and scaled weights, a feature used twice, and a product of weight and feature.
Circuit mixed_circuit() {
  Circuit c(3);
  for (int q = 0; q < 3; ++q) c.h(q).ry(q, input(q));
  c.rz(0, weight(0)).rx(1, 2 * weight(0) + 0.3).ry(2, weight(1) * input(0));
  c.cnot(0, 1).cnot(1, 2).rzz(0, 2, input(1)).crx(2, 0, weight(2));
  return c;
}

std::vector<PauliSum> mixed_observables() {
  return {Z(0), X(1) * Z(2) + 0.5 * Y(0), 1.0 + Z(1)};
}

Tensor leaf(torch::IntArrayRef sizes) {
  return torch::randn(sizes, kFloat64).set_requires_grad(true);
}

TEST(QuantumLayer, OneRotationIsACosine) {
  Circuit c(1);
  c.ry(0, weight() * input(0) + weight());
  QuantumLayer layer(c, each('Z', 1));
  layer->to(kFloat64);
  const auto w = layer->weights.detach();
  const auto x = leaf({5, 1});
  const auto y = layer(x);
  const auto angle = w[0][0] * x + w[0][1];
  EXPECT_TRUE(torch::allclose(y, torch::cos(angle), 0, 1e-12));
  y.sum().backward();
  EXPECT_TRUE(torch::allclose(x.grad(), -w[0][0] * torch::sin(angle), 0, 1e-12));
  EXPECT_NEAR(layer->weights.grad()[0][1].item<double>(), -torch::sin(angle).sum().item<double>(), 1e-12);
  EXPECT_NEAR(layer->weights.grad()[0][0].item<double>(), -(x * torch::sin(angle)).sum().item<double>(), 1e-12);
}

TEST(QuantumLayer, GradientsAgreeWithDifferences) {
  for (const int copies : {1, 3}) {
    QuantumLayer layer(mixed_circuit(), mixed_observables(), QuantumLayerOptions{.copies = copies});
    layer->to(kFloat64);
    const auto x = leaf({4, 3 * copies});
    expect_gradient([&] { return layer(x); }, x);
    expect_gradient([&] { return layer(x); }, layer->weights);
  }
}

TEST(QuantumLayer, AmplitudeEncodedInputsAreDifferentiable) {
  Circuit c(2);
  c.amplitude_encoding().ry(0, weight()).cnot(0, 1).rx(1, weight());
  QuantumLayer layer(c, each('Z', 2));
  layer->to(kFloat64);
  const auto x = leaf({3, 4});
  expect_gradient([&] { return layer(x); }, x);
  expect_gradient([&] { return layer(x); }, layer->weights);
}

TEST(QuantumLayer, CopiesAreLayersSideBySide) {
  QuantumLayer pair(mixed_circuit(), mixed_observables(), QuantumLayerOptions{.copies = 2});
  QuantumLayer one(mixed_circuit(), mixed_observables()), two(mixed_circuit(), mixed_observables());
  {
    const torch::NoGradGuard no_grad;
    one->weights.copy_(pair->weights.slice(0, 0, 1));
    two->weights.copy_(pair->weights.slice(0, 1, 2));
  }
  const auto x = torch::randn({7, 6});
  EXPECT_TRUE(torch::equal(pair(x), torch::cat({one(x.slice(1, 0, 3)), two(x.slice(1, 3, 6))}, 1)));
  EXPECT_FALSE(torch::equal(pair->weights[0], pair->weights[1]));
}

TEST(QuantumLayer, AnyLeadingShapeAndMemoryLayout) {
  QuantumLayer layer(mixed_circuit(), mixed_observables());
  const auto x = torch::randn({3, 4, 2});  // [features, ...]: a permuted view has strides
  const auto view = x.permute({1, 2, 0});
  const auto flat = layer(view.reshape({8, 3}));
  EXPECT_TRUE(torch::equal(layer(view), flat.view({4, 2, 3})));
  EXPECT_TRUE(torch::equal(layer(view[1][1]), flat[3]));
  const auto a = x.clone().set_requires_grad(true), b = view.contiguous().clone().set_requires_grad(true);
  layer(a.permute({1, 2, 0})).sum().backward();
  layer(b).sum().backward();
  EXPECT_TRUE(torch::equal(a.grad().permute({1, 2, 0}), b.grad()));
}

TEST(QuantumLayer, SampleAloneIsSampleInBatch) {
  QuantumLayer layer(mixed_circuit(), mixed_observables());
  const auto x = torch::randn({64, 3});
  const auto all = layer(x);
  for (const int i : {0, 17, 63}) EXPECT_TRUE(torch::equal(layer(x.slice(0, i, i + 1))[0], all[i]));
}

TEST(QuantumLayer, WithoutInputs) {
  Circuit c(2);
  c.ry(0, weight()).cnot(0, 1);
  QuantumLayer layer(c, each('Z', 2));
  EXPECT_EQ(layer->forward().sizes(), (std::vector<int64_t>{2}));
  EXPECT_TRUE(torch::allclose(layer->forward()[1], torch::cos(layer->weights[0][0])));
  EXPECT_EQ(layer(torch::empty({5, 0})).sizes(), (std::vector<int64_t>{5, 2}));
  layer->forward().sum().backward();
  EXPECT_NEAR(layer->weights.grad().item<double>(), -2 * torch::sin(layer->weights).item<double>(), 1e-6);
}

TEST(QuantumLayer, EmptyBatch) {
  QuantumLayer layer(mixed_circuit(), mixed_observables());
  const auto x = torch::empty({0, 3}).set_requires_grad(true);
  const auto y = layer(x);
  EXPECT_EQ(y.sizes(), (std::vector<int64_t>{0, 3}));
  y.sum().backward();
  EXPECT_EQ(x.grad().sizes(), x.sizes());
  EXPECT_EQ(layer->weights.grad().abs().sum().item<float>(), 0);
}

TEST(QuantumLayer, OnlyWantedGradients) {
  QuantumLayer trained(mixed_circuit(), mixed_observables());
  QuantumLayer fixed(mixed_circuit(), mixed_observables(), QuantumLayerOptions{.trainable = false});
  EXPECT_TRUE(trained(torch::rand({2, 3})).requires_grad());
  EXPECT_FALSE(fixed(torch::rand({2, 3})).requires_grad());
  EXPECT_EQ(fixed->parameters().size(), 0);
  EXPECT_EQ(fixed->buffers().size(), 1);
  const auto x = torch::rand({2, 3}).set_requires_grad(true);
  fixed(x).sum().backward();
  EXPECT_GT(x.grad().abs().sum().item<float>(), 0);
  EXPECT_FALSE(fixed->weights.grad().defined());
  const torch::NoGradGuard no_grad;
  EXPECT_FALSE(trained(x).requires_grad());
}

TEST(QuantumLayer, StartValues) {
  const auto weights = [](AngleInit init, uint64_t seed) {
    Circuit c(1);
    for (int i = 0; i < 2000; ++i) c.ry(0, weight());
    return QuantumLayer(c, each('Z', 1), QuantumLayerOptions{.init = init, .seed = seed})->weights.detach();
  };
  const auto uniform = weights(AngleInit::uniform(1, 2), 3);
  EXPECT_GE(uniform.min().item<float>(), 1);
  EXPECT_LT(uniform.max().item<float>(), 2);
  EXPECT_NEAR(uniform.mean().item<float>(), 1.5, 0.03);
  EXPECT_NEAR(weights(AngleInit::normal(0, 0.1), 3).std().item<float>(), 0.1, 0.01);
  EXPECT_EQ(weights(AngleInit::zeros(), 3).abs().sum().item<float>(), 0);
  EXPECT_TRUE(torch::equal(uniform, weights(AngleInit::uniform(1, 2), 3)));
  EXPECT_FALSE(torch::equal(uniform, weights(AngleInit::uniform(1, 2), 4)));
}

TEST(QuantumLayer, IsAModule) {
  torch::nn::Sequential net(torch::nn::Linear(5, 3), QuantumLayer(mixed_circuit(), mixed_observables()));
  const auto x = torch::rand({2, 5});
  EXPECT_EQ(net->parameters().size(), 3);
  const auto copy = std::dynamic_pointer_cast<torch::nn::SequentialImpl>(net->clone());
  const auto before = net->forward(x);
  EXPECT_TRUE(torch::equal(copy->forward(x), before));
  {
    const torch::NoGradGuard no_grad;
    for (auto& p : copy->parameters()) p.add_(0.1);
  }
  EXPECT_TRUE(torch::equal(net->forward(x), before));
  EXPECT_FALSE(torch::equal(copy->forward(x), before));
  std::ostringstream text;
  text << *net;
  EXPECT_THAT(text.str(), HasSubstr("QuantumLayer(3 qubits, 3 inputs -> 3 outputs, 3 trainable weights)"));
}

TEST(QuantumLayer, BadInput) {
  QuantumLayer layer(mixed_circuit(), mixed_observables());
  const auto message = [&](Tensor x) {
    try {
      layer(x);
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string("no error");
  };
  EXPECT_THAT(message(torch::rand({2, 5})), HasSubstr("QuantumLayer: expected [batch, 3], got [2, 5]"));
  EXPECT_THAT(message(torch::rand({})), HasSubstr("expected [batch, 3]"));
  EXPECT_THAT(message(Tensor()), HasSubstr("expected [batch, 3], got nothing"));
  EXPECT_THAT(message(torch::ones({2, 3}, torch::kLong)), HasSubstr("got Long"));
  auto x = torch::rand({2, 3});
  x[1][1] = std::nan("");
  EXPECT_THAT(message(x), HasSubstr("QuantumLayer: the input has values that are not finite"));
  x[1][1] = INFINITY;
  EXPECT_THAT(message(x), HasSubstr("not finite"));
  layer->weights.data().fill_(std::nan(""));
  EXPECT_THAT(message(torch::rand({2, 3})), HasSubstr("weights that are not finite"));

  EXPECT_THROW(QuantumLayer(mixed_circuit(), std::vector<PauliSum>{}), Error);
  EXPECT_THROW(QuantumLayer(mixed_circuit(), std::vector<PauliSum>{Z(3)}), Error);
  EXPECT_THROW(QuantumLayer(mixed_circuit(), mixed_observables(), QuantumLayerOptions{.copies = 0}), Error);
}

TEST(QuantumLayer, WeightsChangedBeforeBackwardAreNoticed) {
  QuantumLayer layer(mixed_circuit(), mixed_observables());
  const auto y = layer(torch::rand({2, 3})).sum();
  {
    const torch::NoGradGuard no_grad;
    layer->weights.add_(1);
  }
  EXPECT_ANY_THROW(y.backward());
}

TEST(Initialize, FollowsSeedAndFanIn) {
  torch::nn::Sequential net(torch::nn::Conv2d(2, 4, 3), torch::nn::Linear(100, 50));
  initialize(*net, Random(1));
  const auto parameters = net->named_parameters();
  EXPECT_NEAR(parameters["0.weight"].abs().max().item<double>(), 1 / std::sqrt(18.0), 0.02);
  EXPECT_NEAR(parameters["1.weight"].abs().max().item<double>(), 0.1, 1e-3);
  EXPECT_NEAR(parameters["1.bias"].abs().max().item<double>(), 0.1, 0.01);
  const auto before = parameters["1.weight"].detach().clone();
  initialize(*net, Random(2));
  EXPECT_FALSE(torch::equal(before, parameters["1.weight"]));
  initialize(*net, Random(1));
  EXPECT_TRUE(torch::equal(before, parameters["1.weight"]));
}

}  // namespace
}  // namespace quanta
