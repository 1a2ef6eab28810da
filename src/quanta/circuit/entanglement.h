#pragma once

#include <utility>
#include <vector>

namespace quanta {

/// Which pairs of wires a layer of two-qubit gates joins, in order of time (Qiskit's names; its "circular" is Ring).
enum class Entanglement {
  Full,           // (i, j) for all i < j
  Linear,         // (0,1), (1,2), ..., (n-2,n-1)
  ReverseLinear,  // the same backwards: Full's matrix with CNOTs from n-1 gates instead of n(n-1)/2
  Ring,           // (n-1,0) and then Linear; Linear on two wires
};

/// Pairs (control, target); none on one wire.
std::vector<std::pair<int, int>> entangled_pairs(Entanglement entanglement, int wires);

}  // namespace quanta
