#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "quanta/circuit/circuit.h"
#include "quanta/core/random.h"

namespace quanta {

/// Whether StabilizerSimulator can run the circuit with these parameter values.
bool is_clifford(const Circuit& circuit, const std::vector<double>& weights = {},
                 const std::vector<double>& inputs = {});

/// Runs Clifford circuits on thousands of wires: Clifford gates on one and two wires whatever their name (rotations and
/// phases by the right angles, dense unitaries), Pauli rotations by multiples of pi/2, Pauli channels, measurements,
/// resets and conditions.
class StabilizerSimulator {
 public:
  /// Parameters are bound here. Throws Error that names the first operation that is not Clifford and its place, for a
  /// channel that is no Pauli channel, for amplitude encoding, and if an observable names a wire the circuit lacks.
  explicit StabilizerSimulator(const Circuit& circuit, const std::vector<PauliSum>& observables = {},
                               const std::vector<double>& weights = {}, const std::vector<double>& inputs = {});
  ~StabilizerSimulator();
  StabilizerSimulator(StabilizerSimulator&&) noexcept;
  StabilizerSimulator& operator=(StabilizerSimulator&&) noexcept;

  int wires() const;
  int clbits() const;
  int outputs() const;

  /// values[k] = tr(rho O_k) at the circuit's end, exactly: each Pauli string is taken back through the circuit, where
  /// it stays a string; channels shrink it and measurements leave it or make it 0. Without noise a string has the
  /// value -1, 0 or 1. Throws Error if the circuit has conditions.
  void expectations(double* values) const;

  /// Words of 64 bits that hold the classical bits: bit c is bit c % 64 of word c / 64.
  int words() const;
  /// samples[s, word]: the classical bits after each shot; the circuit must have some. One noiseless run with a tableau
  /// (Aaronson and Gottesman, PRA 70, 052328, 2004, kept inverted) is the reference; each shot's difference from it is
  /// a Pauli string, and 1024 of these pass through the circuit at once (Gidney, arXiv 2103.02202). Where a condition
  /// guards more than Pauli gates and Pauli channels, each shot is a tableau of its own, which is slow.
  void samples(int64_t shots, const Random& random, uint64_t* samples) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace quanta
