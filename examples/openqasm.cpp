// Reads a circuit as another program writes it, and writes it for a third one.
#include <cstdio>

#include "quanta/circuit/draw.h"
#include "quanta/circuit/qasm.h"

int main() {
  using namespace quanta;
  const Circuit bell = parse_qasm(R"(OPENQASM 3.0;
      include "stdgates.inc";
      input float[64] tilt;
      qubit[2] q;
      bit[2] c;
      ry(tilt / 2) q[0];
      ctrl @ x q[0], q[1];
      c = measure q;)");
  std::printf("%s\n", draw_text(bell).c_str());

  // Version 2 has no inputs: they get values.
  const std::string text = write_qasm(bell, {.version = 2, .inputs = {3.14159}});
  const Circuit again = parse_qasm(text);  // read_qasm(path) reads a file
  std::printf("%s", text.c_str());
  return again.operations().size() == bell.operations().size() && again.inputs() == 0 ? 0 : 1;
}
