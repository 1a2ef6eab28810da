// A differential equation solved by a circuit: second derivatives through a quantum layer are exact. And a layer on a
// noisy device that is only known by shots.
#include <torch/torch.h>

#include <cstdio>

#include "quanta/nn/init.h"
#include "quanta/nn/quantum_layer.h"

int main() {
  using namespace quanta;
  Circuit circuit(4);
  for (int layer = 0; layer < 3; ++layer) {
    for (int q = 0; q < 4; ++q) circuit.ry(q, weight() * input(0) + weight()).rz(q, weight());
    circuit.cnot_ring();
  }
  torch::nn::Sequential net(QuantumLayer(circuit, each('Z', 4)), torch::nn::Linear(4, 1));
  net->to(torch::kFloat64);
  initialize(*net, Random(1));

  const auto x = torch::linspace(-1, 1, 21, torch::kFloat64).unsqueeze(1).requires_grad_();
  const auto f = -torch::sin(2 * x.detach());
  torch::optim::Adam adam(net->parameters(), 0.02);
  double first = 0, last = 0;
  for (int step = 0; step < 100; ++step) {
    adam.zero_grad();
    // Poisson's equation: u'' = f, the loss trains the weights through the second derivative.
    const auto u = net->forward(x);
    const auto du = torch::autograd::grad({u.sum()}, {x}, {}, true, /*create_graph=*/true)[0];
    const auto d2u = torch::autograd::grad({du.sum()}, {x}, {}, true, /*create_graph=*/true)[0];
    const auto loss = (d2u - f).pow(2).mean();
    loss.backward();
    adam.step();
    last = loss.item<double>();
    if (step == 0) first = last;
  }
  std::printf("residual %.4f -> %.6f\n", first, last);

  Circuit device(4);
  for (int q = 0; q < 4; ++q) device.ry(q, input(q)).rz(q, weight());
  device.cnot_ring();
  const NoiseModel noise = NoiseModel::depolarizing(0.001, 0.01);
  auto layer = QuantumLayer(
      device, each('Z', 4),
      QuantumLayerOptions{
          .seed = 1, .engine = Engine::Density, .noise = noise, .gradient = Gradient::ParameterShift, .shots = 1000});
  layer->forward(torch::rand({8, 4})).sum().backward();
  return last < 0.1 * first && layer->weights.grad().defined() ? 0 : 1;
}
