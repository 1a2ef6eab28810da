#include <cmath>

#include "quanta/core/error.h"
#include "quanta/variational/mitigation.h"

namespace quanta {
namespace {

struct Folds {
  int all;    // pairs for everything
  int extra;  // gates with one pair more
};

Folds folds(const Circuit& circuit, double factor) {
  require(std::isfinite(factor) && factor >= 1, "folding: the factor is {}, expected a number from 1", factor);
  require(circuit.is_unitary() && !circuit.has_amplitude_encoding(),
          "folding: the circuit holds more than gates; fold it before noise and measurements are added");
  int gates = 0;
  for (const Operation& operation : circuit.operations()) gates += operation.kind != GateKind::Barrier;
  const double pairs = (factor - 1) / 2;
  const int all = int(std::floor(pairs + 1e-9));
  return {all, int(std::lround((pairs - all) * gates))};
}

Circuit part(const Circuit& circuit, size_t begin) {
  Circuit result(circuit.wires());
  for (size_t i = begin; i < circuit.operations().size(); ++i) result.add(circuit.operations()[i]);
  return result;
}

}  // namespace

Circuit fold_gates(const Circuit& circuit, double factor) {
  auto [all, extra] = folds(circuit, factor);
  Circuit result(circuit.wires());
  for (const Operation& operation : circuit.operations()) {
    result.add(operation);
    if (operation.kind == GateKind::Barrier) continue;
    Circuit gate(circuit.wires());
    gate.add(operation);
    const Circuit inverse = gate.inverse();
    const int pairs = all + (extra-- > 0);
    for (int k = 0; k < pairs; ++k) result.append(inverse).append(gate);
  }
  return result;
}

Circuit fold_circuit(const Circuit& circuit, double factor) {
  const auto [all, extra] = folds(circuit, factor);
  Circuit result = circuit;
  const Circuit inverse = circuit.inverse();
  for (int k = 0; k < all; ++k) result.append(inverse).append(circuit);
  size_t begin = circuit.operations().size();
  for (int gates = 0; gates < extra; --begin) gates += circuit.operations()[begin - 1].kind != GateKind::Barrier;
  const Circuit tail = part(circuit, begin);
  if (extra > 0) result.append(tail.inverse()).append(tail);
  return result;
}

}  // namespace quanta
