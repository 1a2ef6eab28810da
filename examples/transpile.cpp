// A circuit for a machine that has four gates and couples neighbours only.
#include <cstdio>

#include "quanta/circuit/ansaetze.h"
#include "quanta/circuit/transpile.h"

int main() {
  using namespace quanta;
  Circuit circuit(4);
  strongly_entangling(circuit, 2);
  const Transpiled result =
      transpile(circuit, {.basis = {"rz", "sx", "x", "cx"}, .coupling = Coupling::parse("line", 4)});
  // result.circuit: in the basis, on the line; result.before, result.after: gates by name, depth.
  // result.initial_layout[q], result.final_layout[q]: where the circuit's wire q starts and ends.

  std::printf("depth %d -> %d, two-qubit gates %d -> %d\n", result.before.depth, result.after.depth,
              result.before.two_qubit, result.after.two_qubit);
  for (const auto& [name, count] : result.after.gates) std::printf("%s %d\n", name.c_str(), count);
  return result.circuit.weights() == circuit.weights() ? 0 : 1;
}
