#include "quanta/variational/qaoa.h"

#include "quanta/circuit/ansaetze.h"
#include "quanta/variational/vqe.h"

namespace quanta {

Circuit qaoa_circuit(const PauliSum& cost, int p, int wires) {
  require(p >= 1, "QAOA: p is {}, expected at least 1", p);
  for (const auto& term : cost.terms)
    for (const auto& [wire, letter] : term.pauli.factors)
      require(letter == 'Z', "QAOA: the cost has the term {}, expected products of Z", term.pauli.to_string());
  Circuit circuit(std::max({wires, cost.max_wire() + 1, 1}));
  for (int q = 0; q < circuit.wires(); ++q) circuit.h(q);
  for (int layer = 0; layer < p; ++layer) qaoa_layer(circuit, cost);
  return circuit;
}

std::vector<double> qaoa_interpolate(const std::vector<double>& weights) {
  require(weights.size() % 2 == 0, "QAOA: {} weights, expected pairs of gamma and beta", weights.size());
  const size_t p = weights.size() / 2;
  std::vector<double> result;
  for (size_t layer = 0; layer <= p; ++layer)
    for (size_t k = 0; k < 2; ++k) {
      double value = 0;
      if (layer > 0) value += double(layer) / double(p) * weights[2 * (layer - 1) + k];
      if (layer < p) value += double(p - layer) / double(p) * weights[2 * layer + k];
      result.push_back(value);
    }
  return result;
}

double diagonal_value(const PauliSum& cost, uint64_t bits) {
  double sum = 0;
  for (const auto& [coefficient, pauli] : cost.terms) {
    bool odd = false;
    for (const auto& factor : pauli.factors) odd ^= (bits >> factor.first) & 1;
    sum += odd ? -coefficient : coefficient;
  }
  return sum;
}

QaoaResult qaoa(const PauliSum& cost, int p, const Optimizer& optimizer, int64_t shots, const Random& random) {
  require(shots >= 1, "QAOA: {} shots, expected at least 1", shots);
  QaoaResult result;
  // A short step of the adiabatic path.
  std::vector<double> start = {0.4, 0.4};
  for (int depth = 1; depth <= p; ++depth) {
    result.minimum = Vqe<>(qaoa_circuit(cost, depth), cost).minimize(optimizer, start);
    start = qaoa_interpolate(result.minimum.x);
  }
  const Simulator<double> simulator(qaoa_circuit(cost, p));
  std::vector<uint64_t> samples(static_cast<size_t>(shots));
  simulator.samples(1, result.minimum.x.data(), nullptr, shots, random, samples.data());
  result.best = {samples[0], diagonal_value(cost, samples[0])};
  for (const uint64_t bits : samples)
    if (const double value = diagonal_value(cost, bits); value < result.best.cost) result.best = {bits, value};
  return result;
}

}  // namespace quanta
