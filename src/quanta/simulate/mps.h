#pragma once

#include <complex>
#include <cstdint>
#include <memory>
#include <vector>

#include "quanta/circuit/circuit.h"
#include "quanta/core/random.h"

namespace quanta {

struct MpsOptions {
  int max_bond = 64;      // the largest bond dimension; 2^(wires/2) is always exact
  double cutoff = 1e-10;  // the share of the norm squared that one truncation may drop, 0 .. 1
  bool reorder = true;    // put wires that interact side by side (reverse Cuthill-McKee); false: wire q on site q
};

/// What a call's truncations cost: of the worst sample, if it ran several.
struct MpsReport {
  double discarded_weight = 0;  // summed over all truncations
  double fidelity = 1;          // product of 1 - discarded weight, an estimate of |<exact|truncated>|^2
  int largest_bond = 1;
};

/// Runs circuits with little entanglement on many wires as matrix-product states (Vidal, PRL 91, 147902, 2003;
/// Schollwoeck, arXiv 1008.3477): a gate on neighbours contracts two sites and splits them by a singular value
/// decomposition at the orthogonality centre. Work grows with wires * bond^3. Distant wires are brought together by
/// swaps that are not undone. The state is normalized after truncation. Computes in double precision; Real is the type
/// of the arrays, whose shapes are Simulator's. A batch gives what its samples give alone, with any number of threads.
template <class Real>
class MpsSimulator {
 public:
  /// Gates on up to 6 wires, controls included, and Pauli rotations on any number. Throws Error for larger ones, for
  /// amplitude encoding, measurements, resets, channels and conditions, and if an observable names a wire the circuit
  /// lacks.
  explicit MpsSimulator(const Circuit& circuit, const std::vector<PauliSum>& observables = {},
                        const MpsOptions& options = {});
  ~MpsSimulator();
  MpsSimulator(MpsSimulator&&) noexcept;
  MpsSimulator& operator=(MpsSimulator&&) noexcept;

  int wires() const;
  int weights() const;
  int inputs() const;
  int outputs() const;

  /// values[b, k] = <psi_b| O_k |psi_b>. Terms share what lies left of them, so a sum over sites or neighbours costs
  /// little more than one term.
  MpsReport expectations(int64_t batch, const Real* weights, const Real* inputs, Real* values) const;

  /// As Simulator::vjp, by an adjoint sweep: <psi|O is itself a matrix-product state that the gates are taken off
  /// again, and each gate's derivative is its overlap with the state of that moment, which the way forward has kept.
  /// Exact where nothing is truncated. Under truncation it approximates the derivative of the exact circuit, with an
  /// error of the order of the square root of the discarded weight; the adjoint state may have twice max_bond.
  MpsReport vjp(int64_t batch, const Real* weights, const Real* inputs, const Real* upstream, Real* dweights,
                Real* dinputs, Real* values = nullptr) const;

  /// amplitudes[b, k] of `count` basis states [count, words()], global phase included.
  MpsReport amplitudes(int64_t batch, const Real* weights, const Real* inputs, int64_t count, const uint64_t* basis,
                       std::complex<Real>* amplitudes) const;

  /// states[b, i] and their squares, as Simulator's; at most 24 wires.
  MpsReport states(int64_t batch, const Real* weights, const Real* inputs, std::complex<Real>* states) const;
  MpsReport probabilities(int64_t batch, const Real* weights, const Real* inputs, Real* probabilities) const;

  /// Words of 64 bits that hold a basis state: wire q is bit q % 64 of word q / 64.
  int words() const;
  /// samples[b, s, word]: independent basis states, drawn site by site from the exact conditional probabilities of the
  /// matrix-product state; sample b uses random.split(b).
  MpsReport samples(int64_t batch, const Real* weights, const Real* inputs, int64_t shots, const Random& random,
                    uint64_t* samples) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace quanta
