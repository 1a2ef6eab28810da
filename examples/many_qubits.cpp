// A hundred qubits as a matrix-product state, a thousand as a stabilizer tableau.
#include <fmt/core.h>

#include <cmath>

#include "quanta/circuit/hamiltonians.h"
#include "quanta/simulate/mps.h"
#include "quanta/simulate/stabilizer.h"

using namespace quanta;

bool shallow() {
  const PauliSum energy = transverse_ising(100);
  const double upstream = 1;
  double value = 0;

  Circuit circuit(100);
  for (int layer = 0; layer < 4; ++layer) {
    for (int q = 0; q < 100; ++q) circuit.ry(q, weight());
    circuit.cnot_chain();
  }
  const std::vector<double> weights(size_t(circuit.weights()), 0.1);
  std::vector<double> gradient(weights.size());

  const MpsSimulator<double> mps(circuit, {energy}, {.max_bond = 64, .cutoff = 1e-10});
  const MpsReport report = mps.vjp(1, weights.data(), nullptr, &upstream, gradient.data(), nullptr, &value);
  fmt::print("{} +- fidelity {}, bond {}\n", value, report.fidelity, report.largest_bond);
  std::vector<uint64_t> samples(1000 * mps.words());  // wire q is bit q % 64 of word q / 64
  mps.samples(1, weights.data(), nullptr, 1000, Random(1), samples.data());
  return report.fidelity > 1 - 1e-6;
}

bool clifford() {
  Circuit circuit(1000);
  circuit.h(0).cnot_chain();
  double value = 0;
  StabilizerSimulator(circuit, {Z(0) * Z(999)}).expectations(&value);  // 1
  circuit.channel(depolarizing(0.01), {7}).measure_all();
  const StabilizerSimulator simulator(circuit);
  std::vector<uint64_t> samples(100000 * simulator.words());  // classical bit c is bit c % 64 of word c / 64
  simulator.samples(100000, Random(1), samples.data());
  return value == 1;
}

int main() {
  return shallow() && clifford() ? 0 : 1;
}
