#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "quanta/core/error.h"
#include "quanta/nn/gradient_check.h"
#include "quanta/nn/quantum_layer.h"

namespace quanta {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;
using torch::kFloat64;
using torch::Tensor;

/// Shared and scaled weights, a feature used three times, products of weight and features, controlled gates.
Circuit mixed_circuit() {
  Circuit c(3);
  for (int q = 0; q < 3; ++q) c.h(q).ry(q, input(q));
  c.rz(0, weight(0)).rx(1, 2 * weight(0) + 0.3).ry(2, weight(1) * input(0) * input(1) + weight(2));
  c.cnot(0, 1).swap(1, 2).rzz(0, 2, input(1)).crx(2, 0, weight(2)).cu(0, 1, weight(), input(2), 0.3, weight(1));
  return c;
}

Circuit amplitude_circuit() {
  Circuit c(2);
  c.amplitude_encoding().ry(0, weight() * input(1)).cnot(0, 1).rx(1, weight());
  return c;
}

QuantumLayer double_layer(const Circuit& circuit, const std::vector<PauliSum>& observables,
                          QuantumLayerOptions options = {}) {
  QuantumLayer layer(circuit, observables, std::move(options));
  layer->to(kFloat64);
  return layer;
}

Tensor leaf(torch::IntArrayRef sizes) {
  return torch::randn(sizes, kFloat64).set_requires_grad(true);
}

std::vector<Tensor> differentiable_grad(const Tensor& y, const std::vector<Tensor>& by) {
  return torch::autograd::grad({y}, by, {}, /*retain_graph=*/true, /*create_graph=*/true);
}

/// Derivatives of the gradient by inputs, weights and upstream.
void expect_second_derivatives(const std::function<Tensor(Tensor)>& net, const Tensor& x, const Tensor& weights) {
  const auto u = torch::randn(net(x).sizes(), kFloat64).set_requires_grad(true);
  const auto gradient = [&] {
    const torch::AutoGradMode record(true);
    const auto g = differentiable_grad((net(x) * u).sum(), {x, weights});
    return torch::cat({g[0].flatten(), g[1].flatten()});
  };
  for (const Tensor& variable : {x, weights, u}) expect_gradient(gradient, variable, 1e-6);
}

TEST(QuantumLayerGradient, SecondDerivativesAreExact) {
  torch::manual_seed(1);
  for (const int64_t batch : {1, 3, 17})
    for (const int copies : {1, 2}) {
      if (batch == 17 && copies == 2) continue;
      auto layer = double_layer(mixed_circuit(), {Z(0), X(1) * Z(2) + 0.5 * Y(0)}, {.copies = copies});
      expect_second_derivatives([&](const Tensor& t) { return layer(t); }, leaf({batch, 3 * copies}), layer->weights);
    }
  auto layer = double_layer(amplitude_circuit(), each('X', 2));
  expect_second_derivatives([&](const Tensor& t) { return layer(t); }, leaf({3, 4}), layer->weights);
}

TEST(QuantumLayerGradient, SecondDerivativesInsideANetwork) {
  torch::manual_seed(2);
  auto layer = double_layer(mixed_circuit(), each('Z', 3));
  torch::nn::Sequential net(torch::nn::Linear(2, 3), torch::nn::Tanh(), layer, torch::nn::Linear(3, 2));
  net->to(kFloat64);
  for (const Tensor& parameter : net->parameters())
    expect_second_derivatives([&](const Tensor& t) { return net->forward(t).pow(2); }, leaf({3, 2}), parameter);
}

TEST(QuantumLayerGradient, ThirdDerivatives) {
  torch::manual_seed(3);
  auto layer = double_layer(mixed_circuit(), {Z(0) + X(2)}, {.copies = 2});
  const auto x = leaf({2, 6}), v = leaf({2, 6});
  const auto second = [&] {
    const torch::AutoGradMode record(true);
    const auto g = differentiable_grad(layer(x).pow(2).sum(), {x, layer->weights});
    const auto h = differentiable_grad((g[0] * v).sum() + g[1].pow(2).sum(), {x, layer->weights, v});
    return torch::cat({h[0].flatten(), h[1].flatten(), h[2].flatten()});
  };
  for (const Tensor& variable : {x, layer->weights, v}) expect_gradient(second, variable, 1e-6);
}

TEST(QuantumLayerGradient, DerivativesOfACosineToTheFifth) {
  Circuit c(1);
  c.ry(0, input(0));
  auto layer = double_layer(c, each('Z', 1));
  const auto x = leaf({4, 1});
  auto y = layer(x);
  for (int order = 1; order <= 5; ++order) {
    y = differentiable_grad(y.sum(), {x})[0];
    EXPECT_TRUE(torch::allclose(y, torch::cos(x + order * M_PI / 2), 0, 1e-12)) << order;
  }
  EXPECT_THAT([&] { differentiable_grad(y.sum(), {x}); }, ThrowsMessage<Error>(HasSubstr("up to order 5, got 6")));
}

TEST(QuantumLayerGradient, LaplaciansAndPenaltiesTrain) {
  // <Z> of RY(w x0) RY(x1) is cos(w x0 + x1): its Laplacian is -(w^2 + 1) cos(w x0 + x1).
  Circuit c(1);
  c.ry(0, weight() * input(0)).ry(0, input(1));
  auto layer = double_layer(c, each('Z', 1));
  const auto x = leaf({5, 2});
  const auto w = layer->weights.detach().squeeze();
  const auto angle = (w * x.select(1, 0) + x.select(1, 1)).detach();
  const auto g = differentiable_grad(layer(x).sum(), {x})[0];
  Tensor laplacian = torch::zeros({5}, kFloat64);
  for (int i = 0; i < 2; ++i) laplacian = laplacian + differentiable_grad(g.select(1, i).sum(), {x})[0].select(1, i);
  EXPECT_TRUE(torch::allclose(laplacian, -(w * w + 1) * torch::cos(angle), 0, 1e-12));
  laplacian.sum().backward();
  const auto expected = (-2 * w * torch::cos(angle) + (w * w + 1) * torch::sin(angle) * x.select(1, 0)).sum();
  EXPECT_NEAR(layer->weights.grad().item<double>(), expected.item<double>(), 1e-11);

  // |grad|^2 = (w^2 + 1) sin^2
  layer->weights.mutable_grad() = Tensor();
  differentiable_grad(layer(x).sum(), {x})[0].pow(2).sum().backward();
  const auto penalty = (2 * w * torch::sin(angle).pow(2) + (w * w + 1) * torch::sin(2 * angle) * x.select(1, 0)).sum();
  EXPECT_NEAR(layer->weights.grad().item<double>(), penalty.item<double>(), 1e-11);
}

TEST(QuantumLayerGradient, SecondDerivativesInSinglePrecision) {
  torch::manual_seed(5);
  QuantumLayer single(mixed_circuit(), each('Z', 3));
  auto wide = double_layer(mixed_circuit(), each('Z', 3));
  wide->weights.data().copy_(single->weights);
  const auto x = torch::randn({17, 3});
  const auto hessian = [&](QuantumLayer& layer, const Tensor& input) {
    const auto leaf = input.clone().set_requires_grad(true);
    const auto g = differentiable_grad(layer(leaf).pow(2).sum(), {leaf, layer->weights});
    const auto h = torch::autograd::grad({g[0].pow(2).sum() + g[1].sum()}, {leaf, layer->weights});
    return torch::cat({h[0].flatten(), h[1].flatten()}).to(kFloat64);
  };
  const auto exact = hessian(wide, x.to(kFloat64));
  EXPECT_LT((hessian(single, x) - exact).abs().max().item<double>(), 1e-5 * exact.abs().max().item<double>());
}

TEST(QuantumLayerGradient, EmptyBatchTwice) {
  auto layer = double_layer(mixed_circuit(), each('Z', 3));
  const auto x = leaf({0, 3});
  const auto g = differentiable_grad(layer(x).sum(), {x, layer->weights});
  const auto h = torch::autograd::grad({g[0].sum() + g[1].sum()}, {x, layer->weights});
  EXPECT_EQ(h[0].sizes(), x.sizes());
  EXPECT_EQ(h[1].abs().sum().item<double>(), 0);
}

Tensor gradients(QuantumLayer layer, const Tensor& x) {
  const auto leaf = x.clone().set_requires_grad(true);
  const auto y = layer(leaf);
  const auto u = torch::linspace(-1, 2, y.numel(), y.options()).view(y.sizes());
  const auto g = torch::autograd::grad({(y * u).sum()}, {leaf, layer->weights});
  return torch::cat({g[0].flatten(), g[1].flatten()}).detach();
}

TEST(QuantumLayerGradient, EachOptionGivesTheGradient) {
  torch::manual_seed(6);
  for (const int copies : {1, 2}) {
    const auto make = [&](QuantumLayerOptions options) {
      options.copies = copies;
      return double_layer(mixed_circuit(), {Z(0), X(1) * Z(2)}, options);
    };
    const auto x = torch::randn({3, 3 * copies}, kFloat64);
    const auto expected = gradients(make({}), x);
    const auto error = [&](const QuantumLayerOptions& options) {
      return (gradients(make(options), x) - expected).abs().max().item<double>();
    };
    EXPECT_LT(error({.gradient = Gradient::ParameterShift}), 1e-10);
    EXPECT_LT(error({.gradient = Gradient::FiniteDifference}), 1e-7);
    EXPECT_GT(error({.gradient = Gradient::FiniteDifference, .step = 0.1}), 1e-4) << "the option is not obeyed";
    // Means of what is random, each within 4.5 of its standard errors.
    for (const QuantumLayerOptions& options :
         {QuantumLayerOptions{.gradient = Gradient::Spsa, .directions = 10},
          QuantumLayerOptions{.gradient = Gradient::ParameterShift, .shots = 100}}) {
      auto layer = make(options);
      std::vector<Tensor> all;
      for (int i = 0; i < 150; ++i) all.push_back(gradients(layer, x));
      const auto stack = torch::stack(all);
      const auto deviation = (stack.mean(0) - expected).abs() / (stack.std(0) / std::sqrt(150) + 1e-9);
      EXPECT_LT(deviation.max().item<double>(), 4.5);
      EXPECT_GT(stack.std(0).max().item<double>(), 0.01);
    }
  }
}

TEST(QuantumLayerGradient, EnginesAgree) {
  torch::manual_seed(7);
  const auto x = torch::randn({2, 3}, kFloat64);
  const auto expected = gradients(double_layer(mixed_circuit(), {Z(0), X(1) * Z(2)}), x);
  const auto error = [&](const QuantumLayerOptions& options) {
    return (gradients(double_layer(mixed_circuit(), {Z(0), X(1) * Z(2)}, options), x) - expected)
        .abs()
        .max()
        .item<double>();
  };
  EXPECT_LT(error({.engine = Engine::Density}), 1e-10);
  EXPECT_LT(error({.engine = Engine::Density, .gradient = Gradient::ParameterShift}), 1e-10);
  EXPECT_LT(error({.engine = Engine::Mps}), 1e-8);
  EXPECT_LT(error({.engine = Engine::Mps, .gradient = Gradient::ParameterShift}), 1e-8);
  EXPECT_LT(error({.engine = Engine::Trajectories, .gradient = Gradient::ParameterShift}), 1e-10) << "without noise";
}

TEST(QuantumLayerGradient, NoiseShrinksTheCosine) {
  Circuit c(1);
  c.ry(0, weight() + input(0));
  NoiseModel noise;
  noise.after(depolarizing(0.2)).readout(0.1, 0.04);
  const double shrink = (1 - 0.1 - 0.04) * 0.8;
  const auto check = [&](const QuantumLayerOptions& options, double error) {
    auto layer = double_layer(c, each('Z', 1), options);
    const auto x = torch::linspace(-2, 2, 5, kFloat64).unsqueeze(1).set_requires_grad(true);
    const auto angle = (x + layer->weights).detach();
    const auto y = layer(x);
    EXPECT_TRUE(torch::allclose(y, shrink * torch::cos(angle) + (0.04 - 0.1), 0, error)) << y;
    y.sum().backward();
    EXPECT_TRUE(torch::allclose(x.grad(), -shrink * torch::sin(angle), 0, error)) << x.grad();
  };
  check({.engine = Engine::Density, .noise = noise}, 1e-12);
  check({.engine = Engine::Density, .noise = noise, .gradient = Gradient::ParameterShift}, 1e-12);
  check({.seed = 3,
         .engine = Engine::Trajectories,
         .noise = noise,
         .trajectories = {.trajectories = 20000},
         .gradient = Gradient::ParameterShift},
        4.5 / std::sqrt(20000));
}

TEST(QuantumLayerGradient, ShotsOfANoisyState) {
  Circuit c(1);
  c.ry(0, input(0));
  NoiseModel noise;
  noise.after(depolarizing(0.3));
  auto layer =
      double_layer(c, each('Z', 1),
                   {.engine = Engine::Density, .noise = noise, .gradient = Gradient::ParameterShift, .shots = 20000});
  const auto x = torch::full({1, 1}, 0.8, kFloat64).set_requires_grad(true);
  const auto y = layer(x);
  y.backward();
  EXPECT_NEAR(y.item<double>(), 0.7 * std::cos(0.8), 4.5 / std::sqrt(20000));
  EXPECT_NE(y.item<double>(), 0.7 * std::cos(0.8));
  EXPECT_NEAR(x.grad().item<double>(), -0.7 * std::sin(0.8), 4.5 / std::sqrt(20000));
}

TEST(QuantumLayerGradient, ShotsDrawAnewAndReproducibly) {
  const QuantumLayerOptions options{.seed = 4, .gradient = Gradient::ParameterShift, .shots = 50};
  QuantumLayer layer(mixed_circuit(), each('Z', 3), options), again(mixed_circuit(), each('Z', 3), options);
  const auto x = torch::randn({4, 3});
  const auto first = layer(x), second = layer(x);
  EXPECT_FALSE(torch::equal(first, second));
  EXPECT_TRUE(torch::equal(first, again(x)));
  EXPECT_EQ(layer->calls.item<int64_t>(), 2);
  const auto copy = std::dynamic_pointer_cast<QuantumLayerImpl>(layer->clone());
  EXPECT_TRUE(torch::equal(copy->forward(x), layer(x)));
  layer->to(kFloat64);
  EXPECT_NO_THROW(layer(x));
  EXPECT_EQ(layer->calls.item<int64_t>(), 4);
  // Multiples of 2 / 50.
  const auto steps = first * 25;
  EXPECT_TRUE(torch::allclose(steps, steps.round(), 0, 1e-4));
  EXPECT_FALSE(QuantumLayer(mixed_circuit(), each('Z', 3))->calls.defined());
}

TEST(QuantumLayerGradient, OutputsHaveTheFeaturesType) {
  QuantumLayer layer(mixed_circuit(), each('Z', 3));
  auto wide = double_layer(mixed_circuit(), each('Z', 3));
  wide->weights.data().copy_(layer->weights);
  const auto x = torch::rand({2, 3});
  const auto exact = wide(x.to(kFloat64));
  for (const auto type : {torch::kHalf, torch::kBFloat16, torch::kFloat32, kFloat64}) {
    const auto leaf = x.to(type).clone().set_requires_grad(true);
    const auto y = layer(leaf);
    EXPECT_EQ(y.scalar_type(), type);
    y.sum().backward();
    EXPECT_EQ(leaf.grad().scalar_type(), type);
    EXPECT_EQ(layer->weights.grad().scalar_type(), torch::kFloat32);
    const double tolerance = type == torch::kBFloat16 ? 3e-2
                             : type == torch::kHalf   ? 4e-3
                             : type == kFloat64       ? 1e-7
                                                      : 1e-5;
    EXPECT_LT((y.to(kFloat64) - exact).abs().max().item<double>(), tolerance) << type;
  }
  EXPECT_EQ(wide(x).scalar_type(), torch::kFloat32);
  layer->to(torch::kHalf);
  EXPECT_EQ(layer(x.to(torch::kHalf)).scalar_type(), torch::kHalf);
}

TEST(QuantumLayerGradient, RefusesWhatDoesNotGoTogether) {
  const auto make = [](const QuantumLayerOptions& options) {
    return [options] { QuantumLayer(mixed_circuit(), each('Z', 3), options); };
  };
  EXPECT_THAT(make({.shots = 10}), ThrowsMessage<Error>(HasSubstr("QuantumLayer: the adjoint gradient needs exact")));
  EXPECT_THAT(make({.gradient = Gradient::ParameterShift, .shots = -1}),
              ThrowsMessage<Error>(HasSubstr("shots is -1")));
  EXPECT_THAT(make({.gradient = Gradient::ParameterShift, .shots = 1}),
              ThrowsMessage<Error>(HasSubstr("at least 2 shots")));
  EXPECT_THAT(make({.gradient = Gradient::Spsa, .shots = 10}), ThrowsMessage<Error>(HasSubstr("need a .step")));
  EXPECT_THAT(make({.step = 0.1}), ThrowsMessage<Error>(HasSubstr(".step belongs to")));
  EXPECT_THAT(make({.directions = 3}), ThrowsMessage<Error>(HasSubstr(".directions belongs to")));
  EXPECT_THAT(make({.gradient = Gradient::Spsa, .step = -1}), ThrowsMessage<Error>(HasSubstr("step must be positive")));
  NoiseModel noise, readout;
  noise.after(bit_flip(0.1));
  readout.readout(0.1, 0);
  EXPECT_THAT(make({.noise = noise}),
              ThrowsMessage<Error>(HasSubstr("take .engine = Engine::Density or Engine::Trajectories")));
  EXPECT_THAT(make({.engine = Engine::Mps, .noise = noise}), ThrowsMessage<Error>(HasSubstr("has channels")));
  EXPECT_THAT(make({.engine = Engine::Trajectories, .noise = noise}),
              ThrowsMessage<Error>(HasSubstr("the adjoint gradient needs exact values")));
  EXPECT_THAT(make({.engine = Engine::Trajectories, .gradient = Gradient::ParameterShift, .shots = 9}),
              ThrowsMessage<Error>(HasSubstr("trajectories are estimates already")));
  EXPECT_THAT(make({.noise = readout, .gradient = Gradient::ParameterShift, .shots = 9}),
              ThrowsMessage<Error>(HasSubstr("leave out .shots")));
  EXPECT_NO_THROW(make({.noise = readout})());
  for (const auto gradient : {Gradient::ParameterShift, Gradient::FiniteDifference, Gradient::Spsa}) {
    QuantumLayer layer(mixed_circuit(), each('Z', 3), QuantumLayerOptions{.gradient = gradient});
    const auto x = torch::rand({2, 3}).set_requires_grad(true);
    const auto y = layer(x).sum();
    EXPECT_THAT([&] { differentiable_grad(y, {x}); },
                ThrowsMessage<Error>(HasSubstr("QuantumLayer: second derivatives (create_graph)")));
  }
}

}  // namespace
}  // namespace quanta
