#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "quanta/circuit/circuit.h"

namespace quanta {

/// Which pairs of wires a machine can put a gate on of two qubits; an undirected graph.
struct Coupling {
  int wires = 0;
  std::vector<std::pair<int, int>> edges;

  /// "line", "ring" and "full" of `wires` wires, "grid:2x3" (wire r * columns + c), or edges as "0-1,1-2". Throws Error
  /// for anything else.
  static Coupling parse(std::string_view text, int wires);
};

struct TranspileOptions {
  /// Gates by their names in the gate table (either one, in any case). One-qubit gates: U; RZ or P with SX, SXdg or H;
  /// two rotations; or fixed gates, which then express only what their short products are exactly. One gate of two
  /// qubits that entangles: CX, CZ, CY, CH, CP, CRX, CRY, CRZ, CU, ISWAP, RXX, RYY or RZZ. What else is listed is kept
  /// where it occurs.
  std::vector<std::string> basis = {"rz", "sx", "x", "cx"};
  Coupling coupling = {};  // without wires: every pair may have a gate
  /// 0: translation only. 1: one-qubit gates fused, commuting gates merged and cancelled. 2: two-qubit blocks
  /// synthesized anew, some search for a layout. 3: more of the search.
  int optimization = 2;
  uint64_t seed = 0;
};

struct CircuitCost {
  std::map<std::string, int> gates;  // by name; barriers do not count
  int two_qubit = 0;                 // gates on two or more wires
  int depth = 0;
};
CircuitCost cost(const Circuit& circuit);

struct Transpiled {
  /// On coupling.wires wires; its weights, inputs and classical bits are the original's.
  Circuit circuit;
  /// Where the original's wire is at the start and at the end. A wire that it lacks starts in |0> and ends so.
  std::vector<int> initial_layout;
  std::vector<int> final_layout;
  CircuitCost before;
  CircuitCost after;
};

/// The same circuit, up to a global phase, in gates of a basis and on pairs of wires that the coupling has. Operations
/// that are no gates pass through, and on its wires no gate moves across one (with a coupling, measurements at the
/// circuit's end stand at its very end); conditional gates are translated one by one, and angles of weights and inputs
/// stay such. Throws Error for an unknown gate name, a level other than 0..3, a coupling with too few wires or in
/// several parts, and a gate that the basis cannot express (named).
///
/// Methods: two-qubit blocks by the Cartan decomposition with 0 to 3 CNOTs (Vatan and Williams, PRA 69, 032315, 2004),
/// dense unitaries by quantum Shannon decomposition (Shende et al., arXiv quant-ph/0406176), routing after SABRE (Li et
/// al., arXiv 1809.02573). A rotation with k controls takes 2^k CNOTs up to k = 5 and a number linear in k beyond; X
/// with k controls 6 (k = 2), 14 (k = 3), 30 (k = 4), then a linear number if some wire is idle, quadratic if none is.
Transpiled transpile(const Circuit& circuit, const TranspileOptions& options = {});

}  // namespace quanta
