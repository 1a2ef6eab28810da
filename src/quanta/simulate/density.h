#pragma once

#include <complex>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "quanta/circuit/circuit.h"
#include "quanta/core/random.h"

namespace quanta {

/// Runs a noisy circuit exactly on a density matrix, on batches and with gradients: every operation of Circuit, that is
/// gates with controls, channels, resets, measurements in its midst (their outcome unread: dephasing) and conditions on
/// their outcomes. Up to 12 qubits; the classical bits that wait to be read by a condition count as qubits, of which
/// there may be 13 in all. Real is float or double.
///
/// Final measurements (Circuit::without_final_measurements) leave the state as it is; their read-out errors show in
/// readings() and what is drawn from them.
///
/// The state is held as the 4^n real coefficients tr(P rho) of the Pauli strings P, where one-qubit gates and channels
/// are 4x4 maps that fuse, and CNOTs, Pauli channels and dampings signed permutations and factors.
///
/// Arrays are as in Simulator (simulator.h): row-major, `weights` [circuit.weights()], `inputs` [batch,
/// circuit.inputs()]; a null pointer stands for an array without elements. A batch gives, bit for bit, what its samples
/// give alone, with any number of threads. Calls are const and may run at the same time.
template <class Real>
class DensitySimulator {
 public:
  /// The outputs are the expectation values of the observables. Throws Error if an observable names a wire the circuit
  /// lacks, or for too many qubits.
  explicit DensitySimulator(const Circuit& circuit, const std::vector<PauliSum>& observables = {});
  ~DensitySimulator();
  DensitySimulator(DensitySimulator&&) noexcept;
  DensitySimulator& operator=(DensitySimulator&&) noexcept;

  int wires() const;
  int weights() const;
  int inputs() const;
  int outputs() const;

  /// values[b, k] = tr(O_k rho_b).
  void expectations(int64_t batch, const Real* weights, const Real* inputs, Real* values) const;

  /// The vector-Jacobian product, exact for any channels, by one sweep backwards with the transposed maps:
  ///   dweights[i] = sum_b sum_k upstream[b, k] d values[b, k] / d weights[i]      (overwritten)
  ///   dinputs[b, j] = sum_k upstream[b, k] d values[b, k] / d inputs[b, j]         (overwritten)
  /// Null pointers for what is not wanted. `values`, if given, receives the expectation values. Channels cannot be
  /// undone, so the states between the passes are kept, or where they take more than 1 GiB about two times the square
  /// root of their number, and the others computed once more.
  void vjp(int64_t batch, const Real* weights, const Real* inputs, const Real* upstream, Real* dweights, Real* dinputs,
           Real* values = nullptr) const;

  /// matrices[b, i, j] = <i| rho_b |j>, [batch, 2^wires, 2^wires]; bit q of i belongs to qubit q.
  void matrices(int64_t batch, const Real* weights, const Real* inputs, std::complex<Real>* matrices) const;

  /// purities[b] = tr(rho_b^2).
  void purity(int64_t batch, const Real* weights, const Real* inputs, Real* purities) const;

  /// probabilities[b, i]: to find the wires in basis state i, whose bit k belongs to on[k]; [batch, 2^(size of on)].
  void probabilities(int64_t batch, const Real* weights, const Real* inputs, const std::vector<int>& on,
                     Real* probabilities) const;
  /// The same of all wires, in order.
  void probabilities(int64_t batch, const Real* weights, const Real* inputs, Real* probabilities) const;
  /// The probabilities of what is read from all wires: with the read-out errors of the final measurements.
  void readings(int64_t batch, const Real* weights, const Real* inputs, Real* probabilities) const;

  /// samples[b, s]: readings of all wires, drawn; bit q belongs to qubit q. Sample b uses random.split(b).
  void samples(int64_t batch, const Real* weights, const Real* inputs, int64_t shots, const Random& random,
               uint64_t* samples) const;
  /// How often each reading was drawn, [batch].
  std::vector<std::map<uint64_t, int64_t>> counts(int64_t batch, const Real* weights, const Real* inputs, int64_t shots,
                                                  const Random& random) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace quanta
