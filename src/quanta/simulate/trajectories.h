#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "quanta/circuit/circuit.h"
#include "quanta/core/random.h"

namespace quanta {

struct TrajectoryOptions {
  int64_t trajectories = 1000;  // a sample, over which expectations() takes the mean
};

/// Runs circuits with channels, measurements in their midst, resets and conditions as QUANTUM TRAJECTORIES (Dalibard,
/// Castin, Molmer, PRL 68, 580; Monte Carlo wave functions): each is a state vector to which at every channel one Kraus
/// operator is applied, chosen with its probability. Their mean is the density matrix's value; the memory is a state
/// vector's. Channels that mix unitaries by fixed probabilities (Pauli channels) take no look at the state, and their
/// identity costs nothing. What happens before the first random choice is computed once a sample.
///
/// Arrays as in Simulator. Trajectory t of sample b draws from random.split(b).split(t) alone: results depend neither
/// on the number of threads nor on the batch. Outcomes less likely than the precision's rounding (1e-6 in single, 1e-12
/// in double precision) do not happen. Calls are const and may run at the same time.
template <class Real>
class Trajectories {
 public:
  /// Throws Error if an observable names a wire the circuit lacks, or if the states do not fit into memory.
  explicit Trajectories(const Circuit& circuit, const std::vector<PauliSum>& observables = {},
                        TrajectoryOptions options = {});
  ~Trajectories();
  Trajectories(Trajectories&&) noexcept;
  Trajectories& operator=(Trajectories&&) noexcept;

  int outputs() const;

  /// values[b, k]: mean of <psi|O_k|psi> over the trajectories; standard_errors[b, k], if wanted: the standard
  /// deviation of that mean, estimated from their scatter (infinite for one trajectory; 0 if nothing in the circuit is
  /// random). Measurements at the circuit's
  /// end (Circuit::without_final_measurements) are left out: the observables are measured in their place.
  void expectations(int64_t batch, const Real* weights, const Real* inputs, const Random& random, Real* values,
                    Real* standard_errors = nullptr) const;

  /// bits[b, s, c]: the classical bits after each of `shots` runs; read-out errors are in.
  void shots(int64_t batch, const Real* weights, const Real* inputs, int64_t shots, const Random& random,
             uint8_t* bits) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace quanta
