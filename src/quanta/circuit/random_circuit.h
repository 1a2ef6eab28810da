#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "quanta/circuit/circuit.h"
#include "quanta/circuit/naive.h"
#include "quanta/core/random.h"

/// Random circuits and observables for tests.
namespace quanta::naive {

inline std::vector<double> random_values(size_t count, Random& random, double size = 3) {
  std::vector<double> values(count);
  for (double& value : values) value = random.uniform(-size, size);
  return values;
}

/// Every kind an Angle can be: constant, new weight, shared weight, input, products and sums of them.
inline Angle random_angle(Random& random) {
  switch (random.below(8)) {
    case 0:
      return random.normal();
    case 1:
      return weight();
    case 2:
      return input(int(random.below(3)));
    case 3:
      return weight() * input(int(random.below(3))) + weight() + random.normal();
    case 4:
      return weight(int(random.below(3))) + 0.3;
    case 5:
      return random.normal() * input(0) * input(1) + weight();
    case 6:
      return weight(0) * input(2) * input(2);
    default:
      return -weight() / 3;
  }
}

/// Any unitary operation or barrier, on random wires, every third with further controls.
inline void add_random_operation(Circuit& circuit, Random& random) {
  const int wires = circuit.wires();
  for (;;) {
    const GateInfo& info = gate_table()[random.below(gate_table().size())];
    if (!is_unitary(info.kind) && info.kind != GateKind::Barrier) continue;
    std::vector<int> order;
    for (const int64_t q : random.permutation(wires)) order.push_back(int(q));
    int own = info.wires;
    if (info.kind == GateKind::Unitary || info.kind == GateKind::PauliRotation)
      own = 1 + int(random.below(std::min(wires, 3)));
    if (own > wires) continue;
    Operation operation{.kind = info.kind, .wires = {}, .angles = {}, .controls = {}, .pauli = {}};
    operation.wires.assign(order.begin(), order.begin() + own);
    for (int k = 0; k < info.angles; ++k) operation.angles.push_back(random_angle(random));
    if (info.kind != GateKind::Barrier && random.below(3) == 0)
      operation.controls.assign(order.begin() + own, order.begin() + own + random.below(wires - own + 1));
    if (info.kind == GateKind::Unitary)
      operation.matrix = std::make_shared<const Matrix>(random_unitary(1 << own, random));
    if (info.kind == GateKind::PauliRotation) {
      std::vector<std::pair<int, char>> factors;
      for (const int q : operation.wires) factors.emplace_back(q, "XYZ"[random.below(3)]);
      operation.pauli = PauliString(factors);
      operation.wires.clear();
    }
    circuit.add(std::move(operation));
    return;
  }
}

inline Circuit random_circuit(int wires, int operations, Random& random) {
  Circuit circuit(wires);
  while (int(circuit.operations().size()) < operations) add_random_operation(circuit, random);
  return circuit;
}

/// Random strings with random coefficients; now and then the identity.
inline PauliSum random_observable(int wires, int terms, Random& random) {
  PauliSum sum;
  for (int k = 0; k < terms; ++k) {
    std::vector<std::pair<int, char>> factors;
    for (int q = 0; q < wires; ++q)
      if (const char letter = "IXYZ"[random.below(4)]; letter != 'I') factors.emplace_back(q, letter);
    sum.terms.push_back({random.normal(), PauliString(factors)});
  }
  return sum;
}

}  // namespace quanta::naive
