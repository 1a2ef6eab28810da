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

Circuit& uccsd(Circuit& circuit, int electrons) {
  const int n = circuit.wires();
  require(electrons >= 1 && electrons < n, "uccsd: {} electrons on {} wires, expected 1 to {}", electrons, n, n - 1);
  for (int q = 0; q < electrons; ++q) circuit.x(q);

  // exp(w / 2^(k-1) i sum sign P), the strings P having `letters` on the wires and Z between each pair of them.
  const auto excite = [&](const std::vector<int>& wires, const std::vector<std::pair<const char*, int>>& strings) {
    const int index = circuit.weights();
    for (const auto& [letters, sign] : strings) {
      std::vector<std::pair<int, char>> factors;
      for (size_t k = 0; k < wires.size(); ++k) factors.emplace_back(wires[k], letters[k]);
      for (size_t k = 0; k < wires.size(); k += 2)
        for (int q = wires[k] + 1; q < wires[k + 1]; ++q) factors.emplace_back(q, 'Z');
      circuit.pauli_rotation(PauliString(factors), -2.0 * sign / double(strings.size()) * weight(index));
    }
  };
  for (int i = 0; i < electrons; ++i)
    for (int a = electrons; a < n; ++a)
      if ((i - a) % 2 == 0) excite({i, a}, {{"XY", 1}, {"YX", -1}});
  for (int i = 0; i < electrons; ++i)
    for (int j = i + 1; j < electrons; ++j)
      for (int a = electrons; a < n; ++a)
        for (int b = a + 1; b < n; ++b)
          if (i % 2 + j % 2 == a % 2 + b % 2)
            excite({i, j, a, b}, {{"XXYX", 1},
                                  {"YXYY", 1},
                                  {"XYYY", 1},
                                  {"XXXY", 1},
                                  {"YXXX", -1},
                                  {"XYXX", -1},
                                  {"YYYX", -1},
                                  {"YYXY", -1}});
  return circuit;
}

}  // namespace quanta
