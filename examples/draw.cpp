// A circuit with inputs and weights: built, printed, drawn.
#include <cstdio>

#include "quanta/circuit/ansaetze.h"
#include "quanta/circuit/circuit.h"
#include "quanta/circuit/draw.h"
#include "quanta/core/file.h"

int main() {
  using namespace quanta;
  Circuit circuit(3);
  for (int q = 0; q < 3; ++q) circuit.h(q).ry(q, weight() * input(q) + weight());  // trainable input scaling
  circuit.cnot_ring();
  strongly_entangling(circuit, 1);
  circuit.pauli_rotation(PauliString({{0, 'X'}, {2, 'Z'}}), 0.5 * input(0) * input(1));

  std::printf("%s", draw_text(circuit).c_str());
  write_file("circuit.svg", draw_svg(circuit));

  const PauliSum energy = PauliSum::parse("Z0 Z1 + 0.5 X2 - 1.25");
  std::printf("%d weights, %d inputs, depth %d; %s\n", circuit.weights(), circuit.inputs(), circuit.depth(),
              energy.to_string().c_str());
  return circuit.weights() == 6 + 9 && circuit.inputs() == 3 ? 0 : 1;
}
