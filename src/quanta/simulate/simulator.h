#pragma once

#include <complex>
#include <cstdint>
#include <memory>
#include <vector>

#include "quanta/circuit/circuit.h"
#include "quanta/core/random.h"

namespace quanta {

/// How the amplitudes of a state are kept in memory between the passes over it; arithmetic is in Real.
enum class Storage {
  Full,  // as Real
  Half,  // 16 bits a real number, with an exponent for every 16 amplitudes or so: one qubit more in the same memory.
         // Simulator<float> of 14 qubits and more, without gradients, amplitude encoding and dense unitaries (a
         // Unitary on several qubits, gates with more than two controls)
};

/// Runs a circuit on batches of samples with an exact state vector. The circuit is compiled once; every call may bring
/// new weights and inputs. Real is float or double.
///
/// Arrays are row-major: `weights` [circuit.weights()], `inputs` [batch, circuit.inputs()], values [batch, outputs()].
/// A null pointer stands for an array without elements. A batch gives, bit for bit, what its samples give alone (up to
/// rounding for up to three samples of 10 to 13 qubits, which do not fill a tile), with any number of threads. Calls
/// are const and may run at the same time.
template <class Real>
class Simulator {
 public:
  /// The outputs are the expectation values of the observables. Throws Error if an observable names a wire the circuit
  /// lacks, if the state does not fit into memory, or if the storage cannot be had.
  explicit Simulator(const Circuit& circuit, const std::vector<PauliSum>& observables = {},
                     Storage storage = Storage::Full);
  ~Simulator();
  Simulator(Simulator&&) noexcept;
  Simulator& operator=(Simulator&&) noexcept;

  int wires() const;
  int weights() const;
  int inputs() const;
  int outputs() const;

  /// values[b, k] = <psi_b| O_k |psi_b>.
  void expectations(int64_t batch, const Real* weights, const Real* inputs, Real* values) const;

  /// The vector-Jacobian product by one adjoint sweep (arXiv 2009.02823), for any number of outputs:
  ///   dweights[i] = sum_b sum_k upstream[b, k] d values[b, k] / d weights[i]      (overwritten)
  ///   dinputs[b, j] = sum_k upstream[b, k] d values[b, k] / d inputs[b, j]         (overwritten)
  /// Null pointers for what is not wanted. Throws Error with Storage::Half. `values`, if given, receives the
  /// expectation values.
  void vjp(int64_t batch, const Real* weights, const Real* inputs, const Real* upstream, Real* dweights, Real* dinputs,
           Real* values = nullptr) const;

  /// states[b, i]: the amplitude of basis state i (bit q of i belongs to qubit q), global phase included.
  void states(int64_t batch, const Real* weights, const Real* inputs, std::complex<Real>* states) const;

  /// The bytes that states() moves between memory and the processor for one sample, if the state is too large for the
  /// cache (14 qubits and more): every pass through the state counts its reads and its writes. 0 for smaller states.
  int64_t state_traffic() const;

  /// probabilities[b, i] = |states[b, i]|^2.
  void probabilities(int64_t batch, const Real* weights, const Real* inputs, Real* probabilities) const;

  /// samples[b, s]: basis states drawn independently from the probabilities; sample b uses random.split(b). Linear in
  /// the state's size plus the shots.
  void samples(int64_t batch, const Real* weights, const Real* inputs, int64_t shots, const Random& random,
               uint64_t* samples) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace quanta
