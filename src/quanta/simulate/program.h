#pragma once

#include <array>
#include <bit>
#include <complex>
#include <cstdint>
#include <utility>
#include <vector>

#include "quanta/circuit/circuit.h"

namespace quanta::simulate {

inline bool odd(uint64_t x) {
  return std::popcount(x) & 1;
}

// A circuit in the form that the state-vector kernels run. Lowering leaves four kinds of work:
//
//  * Permutations (X, CNOT, SWAP) cost nothing: amplitudes stay where they are and the FRAME changes, i.e. what a
//  physical
//    index p means. Logical qubit q reads 1 where parity((p ^ origin) & parity_mask[q]) is 1, and p ^ flip_mask[q] is p
//    with qubit q flipped. So a one-qubit gate acts on the pairs (p, p ^ flip).
//  * One-qubit gates on one wire are fused into a CHAIN. A chain that depends on weights only is run as Z-Y-Z: its RZ
//  parts
//    join a DIAGONAL, which is one factor an amplitude for all gates in it, and what remains is a real rotation RY.
//    A chain that depends on the inputs is run as one 2x2 matrix a sample.
//  * Gates that are exp(-i angle/2 G) with G diagonal (after one-qubit basis changes that join the chains) are kept as
//  the
//    Walsh spectrum of G: sum of coefficient * (-1)^parity(p & mask). All controlled and Pauli rotations are of this
//    kind.
//  * Dense unitaries.
//
// Work that commutes is moved together into LAYERS: a diagonal, then rotations whose qubits are independent, then the
// rest. Chains on wires that nothing has touched make the product state that the run starts from.

/// [[a, -conj(b)], [b, conj(a)]].
struct Su2 {
  Complex a = 1;
  Complex b = 0;
};
Su2 operator*(const Su2& second, const Su2& first);
Su2 rotation(char axis, double angle);
/// The rotation R of space that U = [[a, -conj(b)], [b, conj(a)]] is: U sigma_j U^dagger = sum_i R[i][j] sigma_i.
std::array<std::array<double, 3>, 3> axes(double a_re, double a_im, double b_re, double b_im);

/// One gate of a chain: a fixed matrix, or exp(-i angle/2 axis).
struct Factor {
  char axis;  // 'X', 'Y', 'Z', or 0: fixed
  Su2 fixed;
  Angle angle;
};

struct Chain {
  std::vector<Factor> factors;  // in the order of time
  bool trainable = false;       // some factor depends on a weight or an input
  bool per_sample = false;      // some factor depends on an input
  bool only_y = false;          // real: no RZ part behind the rotation
};

struct Rotation {
  uint64_t flip = 0;      // physical mask that flips the qubit
  uint64_t parity = 0;    // physical mask whose parity is the qubit
  bool inverted = false;  // the parity reads the qubit's complement
  int chain = 0;
};

/// The z0 (before) or z1 (after) part of a chain in a diagonal.
struct ChainPhase {
  uint64_t mask;
  bool inverted;
  int chain;
  bool after;
};

/// exp(-i angle/2 sum_t coefficient_t (-1)^parity(p & mask_t)).
struct PhaseGate {
  Angle angle;
  std::vector<std::pair<uint64_t, double>> spectrum;
};

struct Dense {
  std::vector<Rotation> wires;  // first `targets` that the matrix acts on, least significant first, then controls;
                                // .chain unused, a control is inverted so that 0 means that it is satisfied
  int targets;
  Matrix matrix;
};

struct Layer {
  // 1. diagonal
  std::vector<ChainPhase> chain_phases;
  std::vector<PhaseGate> shared_phases;      // depend on weights only
  std::vector<PhaseGate> per_sample_phases;  // depend on inputs
  // 2. rotations by RY, pairwise independent: parity[i] meets flip[j] in an odd number of bits only if i == j
  std::vector<Rotation> rotations;
  // 3. in this order
  std::vector<Rotation> sample_gates;  // chains per sample, pairwise independent
  std::vector<Dense> dense;

  bool has_diagonal() const { return !(chain_phases.empty() && shared_phases.empty() && per_sample_phases.empty()); }
};

/// coefficient * i^ys X^flip Z^mask on physical indices; sign of an inverted frame included.
struct ObservableTerm {
  int output;
  double coefficient;
  uint64_t flip;
  uint64_t mask;
  int ys;
};

struct Program {
  int wires = 0;
  int weights = 0;
  int inputs = 0;
  int outputs = 0;
  bool amplitude_encoding = false;
  bool single_sample = false;  // inputs count as weights: nothing is per sample
  std::vector<Chain> chains;
  std::vector<int> initial;  // chain of each wire on |0>, or -1
  std::vector<Layer> layers;
  std::vector<std::pair<Angle, double>> global_phase;  // sum of factor * angle
  std::vector<uint64_t> flip;                          // final frame
  std::vector<uint64_t> parity;
  uint64_t origin = 0;
  std::vector<ObservableTerm> diagonal_terms;  // flip == 0
  std::vector<ObservableTerm> other_terms;
  std::vector<double> constants;  // [outputs]: multiples of the identity
};

/// Lowers the circuit. If the observables commute qubit by qubit, basis changes are appended so that all are diagonal
/// (the final state is then not the circuit's).
Program lower(const Circuit& circuit, const std::vector<PauliSum>& observables, bool single_sample = false);

}  // namespace quanta::simulate
