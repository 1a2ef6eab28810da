// The ground state energy of a magnet (transverse-field Ising chain) by a variational circuit and exact gradients.
#include <cmath>
#include <cstdio>
#include <numbers>
#include <vector>

#include "quanta/simulate/simulator.h"

int main() {
  using namespace quanta;
  const int n = 4;
  PauliSum energy;
  for (int q = 0; q + 1 < n; ++q) energy = energy - Z(q) * Z(q + 1);
  for (int q = 0; q < n; ++q) energy = energy - X(q);

  Circuit circuit(n);
  for (int q = 0; q < n; ++q) circuit.h(q);
  for (int layer = 0; layer < n; ++layer) {  // two weights a layer, shared by all its gates
    for (int q = 0; q + 1 < n; ++q) circuit.rzz(q, q + 1, weight(2 * layer));
    for (int q = 0; q < n; ++q) circuit.rx(q, weight(2 * layer + 1));
  }

  const Simulator<double> simulator(circuit, {energy});
  std::vector<double> weights(size_t(circuit.weights()), 0.3), gradient(weights.size());
  double value = 0;
  const double upstream = 1;
  for (int step = 0; step < 1000; ++step) {
    simulator.vjp(1, weights.data(), nullptr, &upstream, gradient.data(), nullptr, &value);
    for (size_t i = 0; i < weights.size(); ++i) weights[i] -= 0.1 * gradient[i];
  }

  const double exact = 1 - 1 / std::sin(std::numbers::pi / (4 * n + 2));
  std::printf("energy %.6f, exact %.6f\n", value, exact);
  return std::abs(value - exact) < 1e-3 ? 0 : 1;
}
