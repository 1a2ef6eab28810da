#include "quanta/circuit/encodings.h"

#include <numbers>
#include <numeric>

#include "quanta/core/error.h"

namespace quanta {

Circuit& angle_encoding(Circuit& circuit, char axis, std::vector<int> wires, int first_input, double scale) {
  if (wires.empty()) {
    wires.resize(circuit.wires());
    std::iota(wires.begin(), wires.end(), 0);
  }
  const GateKind gate = rotation_about(axis);
  for (size_t i = 0; i < wires.size(); ++i) circuit.add(gate, {wires[i]}, {scale * input(first_input + int(i))});
  return circuit;
}

Circuit& iqp_encoding(Circuit& circuit, int repeats) {
  require(repeats >= 1, "iqp_encoding: expected at least 1 repeat, got {}", repeats);
  for (int repeat = 0; repeat < repeats; ++repeat) {
    for (int q = 0; q < circuit.wires(); ++q) circuit.h(q).rz(q, input(q));
    for (const auto& [a, b] : entangled_pairs(Entanglement::Full, circuit.wires()))
      circuit.rzz(a, b, input(a) * input(b));
  }
  return circuit;
}

Circuit& zz_feature_map(Circuit& circuit, int repeats, Entanglement entanglement) {
  constexpr double kPi = std::numbers::pi;
  require(repeats >= 1, "zz_feature_map: expected at least 1 repeat, got {}", repeats);
  for (int repeat = 0; repeat < repeats; ++repeat) {
    for (int q = 0; q < circuit.wires(); ++q) circuit.h(q).p(q, 2 * input(q));
    for (const auto& [a, b] : entangled_pairs(entanglement, circuit.wires())) {
      // 2 (pi - x_a)(pi - x_b) is too long for one angle; phases add up.
      circuit.cx(a, b);
      circuit.p(b, 2 * input(a) * input(b) + 2 * kPi * kPi).p(b, -2 * kPi * input(a)).p(b, -2 * kPi * input(b));
      circuit.cx(a, b);
    }
  }
  return circuit;
}

Circuit& data_reuploading(Circuit& circuit, int layers, int features) {
  require(layers >= 1 && features >= 1, "data_reuploading: expected at least 1 layer and 1 feature, got {} and {}",
          layers, features);
  const int n = circuit.wires();
  for (int layer = 0; layer < layers; ++layer) {
    for (int q = 0; q < n; ++q) {
      for (int first = 0; first < features; first += 3) {
        const auto angle = [&](int j) { return j < features ? weight() * input(j) + weight() : weight(); };
        circuit.rot(q, angle(first), angle(first + 1), angle(first + 2));
      }
    }
    if (layer + 1 == layers) break;
    for (int q = layer % 2; q < n; q += 2)
      if (q + 1 < n)
        circuit.cz(q, q + 1);
      else if (n % 2 == 0)
        circuit.cz(q, 0);
  }
  return circuit;
}

}  // namespace quanta
