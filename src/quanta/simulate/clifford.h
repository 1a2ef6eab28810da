#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "quanta/circuit/circuit.h"

/// Circuits as lists of a few Clifford gates.
namespace quanta::simulate {

enum class Clifford : uint8_t { X, Y, Z, H, S, SX, CX, CZ, SWAP, Measure, Reset, Channel };

/// `b` is the second wire (the target) of a gate on two.
struct CliffordStep {
  Clifford kind;
  int a = -1, b = -1;
  int operation = -1;  // of the circuit: conditions, channel, classical bit
  bool conditional = false;
};

/// Whether the gate only multiplies by a Pauli operator.
inline bool is_pauli(Clifford kind) {
  return kind <= Clifford::Z;
}

/// P -> sign g^dagger P g for a gate g, bit by bit: Word holds one bit a Pauli string, (x, z) = (1, 0), (1, 1), (0, 1)
/// being X, Y, Z.
template <class Word>
void conjugate(Clifford kind, Word& xa, Word& za, Word& xb, Word& zb, Word& sign) {
  switch (kind) {
    case Clifford::X:
      sign ^= za;
      break;
    case Clifford::Y:
      sign ^= xa ^ za;
      break;
    case Clifford::Z:
      sign ^= xa;
      break;
    case Clifford::H:
      sign ^= xa & za;
      std::swap(xa, za);
      break;
    case Clifford::S:  // X -> -Y, Y -> X
      sign ^= xa & ~za;
      za ^= xa;
      break;
    case Clifford::SX:  // Z -> Y, Y -> -Z
      sign ^= xa & za;
      xa ^= za;
      break;
    case Clifford::CX:
      sign ^= xa & zb & ~(xb ^ za);
      xb ^= xa;
      za ^= zb;
      break;
    case Clifford::CZ:
      sign ^= xa & xb & (za ^ zb);
      za ^= xb;
      zb ^= xa;
      break;
    case Clifford::SWAP:
      std::swap(xa, xb);
      std::swap(za, zb);
      break;
    default:
      break;
  }
}

/// The steps of the whole circuit. Where an operation is none: std::nullopt, and `why` says which.
std::optional<std::vector<CliffordStep>> compile_clifford(const Circuit& circuit, const double* weights,
                                                          const double* inputs, std::string& why);

}  // namespace quanta::simulate
