// A quantum layer between two LibTorch layers learns XOR, through an installed Quanta::nn.
#include <torch/torch.h>

#include <cstdio>

#include "quanta/nn/quantum_layer.h"

int main() {
  torch::manual_seed(1);
  quanta::Circuit circuit(2);
  for (int q = 0; q < 2; ++q) circuit.ry(q, quanta::input(q));
  circuit.cnot_chain();
  for (int q = 0; q < 2; ++q) circuit.ry(q, quanta::weight());
  torch::nn::Sequential model(torch::nn::Linear(2, 2), quanta::QuantumLayer(circuit, quanta::each('Z', 2)),
                              torch::nn::Linear(2, 1));
  const auto x = torch::tensor({{0.f, 0.f}, {0.f, 1.f}, {1.f, 0.f}, {1.f, 1.f}});
  const auto y = torch::tensor({{0.f}, {1.f}, {1.f}, {0.f}});
  torch::optim::Adam adam(model->parameters(), 0.1);
  float loss = 0;
  for (int step = 0; step < 300; ++step) {
    adam.zero_grad();
    auto error = torch::mse_loss(model->forward(x), y);
    error.backward();
    adam.step();
    loss = error.item<float>();
  }
  std::printf("XOR: mean squared error %.2e\n", loss);
  return loss < 0.01 ? 0 : 1;  // the best linear model has 0.25
}
