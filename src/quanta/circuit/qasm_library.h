#pragma once

#include <array>
#include <string_view>

#include "quanta/circuit/gate.h"

namespace quanta::qasm {

/// How a gate of OpenQASM's libraries is a gate of the table. `angles` and `wires` are those of the language.
struct LibraryGate {
  enum Source : uint8_t { kBuiltin2 = 1, kBuiltin3 = 2, kQelib1 = 4, kStdgates = 8 };
  std::string_view name;
  GateKind kind;
  int angles;
  int wires;
  int controls;    // the first wires, as further controls of `kind`
  uint8_t source;  // where it is declared; a definition of that name elsewhere is compared with it
};

// clang-format off
inline constexpr auto kLibrary = [] {
  using enum GateKind;
  constexpr uint8_t both = LibraryGate::kQelib1 | LibraryGate::kStdgates, qelib1 = LibraryGate::kQelib1,
                    stdgates = LibraryGate::kStdgates;
  return std::to_array<LibraryGate>({
      {"U", U, 3, 1, 0, LibraryGate::kBuiltin2 | LibraryGate::kBuiltin3},
      {"CX", CX, 0, 2, 0, LibraryGate::kBuiltin2 | stdgates},
      {"x", X, 0, 1, 0, both}, {"y", Y, 0, 1, 0, both}, {"z", Z, 0, 1, 0, both}, {"h", H, 0, 1, 0, both},
      {"s", S, 0, 1, 0, both}, {"sdg", Sdg, 0, 1, 0, both}, {"t", T, 0, 1, 0, both}, {"tdg", Tdg, 0, 1, 0, both},
      {"sx", SX, 0, 1, 0, both}, {"id", I, 0, 1, 0, both}, {"p", P, 1, 1, 0, both},
      {"rx", RX, 1, 1, 0, both}, {"ry", RY, 1, 1, 0, both}, {"rz", RZ, 1, 1, 0, both},
      {"u1", P, 1, 1, 0, both}, {"u2", U, 2, 1, 0, both}, {"u3", U, 3, 1, 0, both},
      {"cx", CX, 0, 2, 0, both}, {"cy", CY, 0, 2, 0, both}, {"cz", CZ, 0, 2, 0, both}, {"ch", CH, 0, 2, 0, both},
      {"cp", CP, 1, 2, 0, both}, {"crx", CRX, 1, 2, 0, both}, {"cry", CRY, 1, 2, 0, both}, {"crz", CRZ, 1, 2, 0, both},
      {"cu", CU, 4, 2, 0, both}, {"swap", SWAP, 0, 2, 0, both}, {"ccx", CCX, 0, 3, 0, both},
      {"cswap", CSWAP, 0, 3, 0, both},
      {"phase", P, 1, 1, 0, stdgates}, {"cphase", CP, 1, 2, 0, stdgates},
      {"u0", I, 1, 1, 0, qelib1}, {"u", U, 3, 1, 0, qelib1}, {"sxdg", SXdg, 0, 1, 0, qelib1},
      {"cu1", CP, 1, 2, 0, qelib1}, {"cu3", CU, 3, 2, 0, qelib1}, {"csx", SX, 0, 2, 1, qelib1},
      {"rxx", RXX, 1, 2, 0, qelib1}, {"rzz", RZZ, 1, 2, 0, qelib1},
      {"c3x", X, 0, 4, 3, qelib1}, {"c4x", X, 0, 5, 4, qelib1}, {"c3sqrtx", SX, 0, 4, 3, qelib1},
      {"ryy", RYY, 1, 2, 0, 0}, {"iswap", ISWAP, 0, 2, 0, 0}, {"ccz", Z, 0, 3, 2, 0}, {"cs", S, 0, 2, 1, 0},
      {"csdg", Sdg, 0, 2, 1, 0}, {"mcx", X, 0, 4, 3, 0}, {"mcphase", P, 1, 3, 2, 0},
  });
}();
// clang-format on

/// The gates of qelib1.inc that are not one gate of the table.
inline constexpr std::string_view kQelib1Definitions =
    "gate rccx a,b,c { h c; t c; cx b,c; tdg c; cx a,c; t c; cx b,c; tdg c; h c; }\n"
    "gate rc3x a,b,c,d { h d; t d; cx c,d; tdg d; h d; cx a,d; t d; cx b,d; tdg d; cx a,d; t d; cx b,d; tdg d; h d;"
    " t d; cx c,d; tdg d; h d; }\n";

}  // namespace quanta::qasm
