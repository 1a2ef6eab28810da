#include "quanta/circuit/ansaetze.h"

#include <algorithm>

#include "quanta/core/error.h"

namespace quanta {
namespace {

void check_layers(const char* name, int layers) {
  require(layers >= 0, "{}: expected 0 or more layers, got {}", name, layers);
}

void rotate_all(Circuit& circuit, GateKind gate) {
  for (int q = 0; q < circuit.wires(); ++q) circuit.add(gate, {q}, {weight()});
}

// Rotations by these gates, `reps` times followed by CNOTs, and rotations again.
Circuit& two_local(Circuit& circuit, std::initializer_list<GateKind> gates, int reps, Entanglement entanglement) {
  const auto pairs = entangled_pairs(entanglement, circuit.wires());
  for (int rep = 0; rep <= reps; ++rep) {
    for (const GateKind gate : gates) rotate_all(circuit, gate);
    if (rep < reps)
      for (const auto& [control, target] : pairs) circuit.cnot(control, target);
  }
  return circuit;
}

}  // namespace

Circuit& basic_entangler(Circuit& circuit, int layers, char axis) {
  check_layers("basic_entangler", layers);
  for (int layer = 0; layer < layers; ++layer) {
    rotate_all(circuit, rotation_about(axis));
    if (circuit.wires() == 2)
      circuit.cnot(0, 1);
    else
      circuit.cnot_ring();
  }
  return circuit;
}

Circuit& strongly_entangling(Circuit& circuit, int layers, const std::vector<int>& ranges) {
  check_layers("strongly_entangling", layers);
  const int n = circuit.wires();
  require(ranges.empty() || int(ranges.size()) == layers, "strongly_entangling: expected {} ranges, got {}", layers,
          ranges.size());
  for (const int range : ranges)
    require(range >= 1 && range < n, "strongly_entangling: a range on {} wires must be in 1..{}, got {}", n, n - 1,
            range);
  for (int layer = 0; layer < layers; ++layer) {
    for (int q = 0; q < n; ++q) circuit.rot(q, weight(), weight(), weight());
    if (n > 1) circuit.cnot_ring(ranges.empty() ? layer % (n - 1) + 1 : ranges[layer]);
  }
  return circuit;
}

Circuit& hardware_efficient(Circuit& circuit, int layers) {
  check_layers("hardware_efficient", layers);
  for (int layer = 0; layer < layers; ++layer) {
    for (int q = 0; q < circuit.wires(); ++q) circuit.rx(q, weight()).ry(q, weight()).rz(q, weight());
    circuit.cnot_ring();
  }
  return circuit;
}

Circuit& efficient_su2(Circuit& circuit, int reps, Entanglement entanglement) {
  check_layers("efficient_su2", reps);
  return two_local(circuit, {GateKind::RY, GateKind::RZ}, reps, entanglement);
}

Circuit& real_amplitudes(Circuit& circuit, int reps, Entanglement entanglement) {
  check_layers("real_amplitudes", reps);
  return two_local(circuit, {GateKind::RY}, reps, entanglement);
}

Circuit& qaoa_layer(Circuit& circuit, const PauliSum& cost, Angle gamma, Angle beta) {
  // weight() stands for one new weight here, not for one a gate.
  int next = circuit.weights();
  for (Angle* angle : {&gamma, &beta})
    for (int* index : {&angle->weight, &angle->offset})
      if (*index == Angle::kNext) *index = next++;
  require(std::ranges::any_of(cost.terms, [](const auto& term) { return !term.pauli.factors.empty(); }),
          "qaoa_layer: the cost {} has no term that acts on a wire", cost.to_string());
  for (const PauliSum::Term& term : cost.terms)
    if (!term.pauli.factors.empty()) circuit.pauli_rotation(term.pauli, 2 * term.coefficient * gamma);
  for (int q = 0; q < circuit.wires(); ++q) circuit.rx(q, 2 * beta);
  return circuit;
}

}  // namespace quanta
