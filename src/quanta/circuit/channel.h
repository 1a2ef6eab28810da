#pragma once

#include <span>
#include <string>
#include <vector>

#include "quanta/circuit/gate.h"

namespace quanta {

/// Noise on one or a few qubits: rho -> sum_k K_k rho K_k^dagger with Kraus operators K_k. Probabilities are in 0..1,
/// times in one unit of the user's choice; anything else, and Kraus operators that are not complete
/// (|sum K^dagger K - 1| > 1e-6), throws Error.
class Channel {
 public:
  /// 1 to 6 wires; each operator 2^wires dimensional, wires[0] least significant.
  Channel(std::string name, std::vector<Matrix> kraus);

  const std::string& name() const { return name_; }
  int wires() const { return wires_; }
  const std::vector<Matrix>& kraus() const { return kraus_; }

  /// If every Kraus operator is sqrt(p) times a Pauli string: the probability of each, indexed by the string's digits
  /// in base 4 (I, X, Y, Z = 0..3, wires[0] least significant). Empty for other channels.
  const std::vector<double>& pauli_probabilities() const { return pauli_; }

  /// The channel on Pauli coefficients: with rho = 2^-wires sum_P r_P P, r -> T r; element (P, Q) is
  /// 2^-wires tr(P channel(Q)), indices as above. [4^wires][4^wires], row-major, real.
  std::vector<double> transfer_matrix() const;

 private:
  std::string name_;
  int wires_ = 0;
  std::vector<Matrix> kraus_;
  std::vector<double> pauli_;
};

/// X, Z or Y with probability p.
Channel bit_flip(double p);
Channel phase_flip(double p);
Channel bit_phase_flip(double p);
/// rho -> (1 - p) rho + p 1/2^wires: p multiplies COMPLETE mixing (Qiskit's and Aer's convention), so every Pauli
/// string but the identity has probability p / 4^wires. p = 1 leaves nothing of the state.
Channel depolarizing(double p, int wires = 1);
/// Relaxation |1> -> |0> with probability gamma.
Channel amplitude_damping(double gamma);
/// The off-diagonal elements times sqrt(1 - lambda).
Channel phase_damping(double lambda);
/// Relaxation by gamma towards diag(1 - excited, excited).
Channel generalized_amplitude_damping(double gamma, double excited);
/// `time` of relaxation with T1 towards diag(1 - excited, excited), coherence decaying with T2 <= 2 T1.
Channel thermal_relaxation(double t1, double t2, double time, double excited = 0);
/// Pauli strings with their probabilities, [4^wires] indexed as in Channel::pauli_probabilities; they sum to 1.
Channel pauli_channel(std::span<const double> probabilities);

}  // namespace quanta
