#pragma once

#include <complex>
#include <string>
#include <vector>

#include "quanta/circuit/circuit.h"
#include "quanta/learn/samples.h"

namespace quanta {

/// Writes classical rows into quantum states, feature j on qubit j (QuXAI, arXiv 2505.10167; systems 14 and 18).
class QuantumFeatureMap {
 public:
  enum class Kind {
    Rx,  ///< RX(x_j)
    Ry,  ///< RY(x_j)
    Zz,  ///< zz_feature_map(): two repeats, all pairs
  };
  /// 1 .. 12 qubits; of rows with more columns the first `qubits` are read.
  QuantumFeatureMap(Kind kind, int qubits);

  Kind kind() const { return kind_; }
  int qubits() const { return qubits_; }
  Circuit circuit() const;

  /// |psi(x)>, row by row [n * 2^qubits]; qubit 0 is the least significant bit.
  std::vector<std::complex<double>> states(const Samples& x) const;
  Samples amplitudes(const Samples& x) const;     ///< |amplitude| [n, 2^qubits]
  Samples probabilities(const Samples& x) const;  ///< |amplitude|^2
  /// |<psi(a_i)|psi(b_j)>|^2 [rows of a, rows of b]; of Rx and Ry in closed form, prod_k cos^2((a_ik - b_jk) / 2).
  Samples kernel(const Samples& a, const Samples& b) const;

 private:
  Kind kind_;
  int qubits_;
};

/// "rx", "ry" or "zz"; UsageError for another word.
QuantumFeatureMap::Kind parse_feature_map(const std::string& word);

}  // namespace quanta
