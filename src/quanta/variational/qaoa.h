#pragma once

#include "quanta/circuit/circuit.h"
#include "quanta/core/random.h"
#include "quanta/variational/optimizer.h"

namespace quanta {

/// The quantum approximate optimization algorithm (Farhi et al., arXiv 1411.4028): H on every wire and p layers of
/// qaoa_layer (ansaetze.h). The weights are gamma_1, beta_1, gamma_2, ... `cost` is to be MINIMIZED, and diagonal: sums
/// of products of Z.
Circuit qaoa_circuit(const PauliSum& cost, int p, int wires = 0);

/// Start weights of p layers from good ones of p - 1 by linear interpolation (Zhou et al., arXiv 1812.01041, INTERP).
std::vector<double> qaoa_interpolate(const std::vector<double>& weights);

struct BitString {
  uint64_t bits = 0;  ///< bit q is qubit q's
  double cost = 0;
};

/// The value of a diagonal observable for a bit string.
double diagonal_value(const PauliSum& cost, uint64_t bits);

struct QaoaResult {
  Minimum minimum;  ///< of the expectation value
  BitString best;   ///< of the bit strings drawn from the final state
};

/// Minimizes the expectation value, one depth after the other from 1 to p, each from the interpolated weights of the
/// one before; then draws `shots` bit strings.
QaoaResult qaoa(const PauliSum& cost, int p, const Optimizer& optimizer = Lbfgs{}, int64_t shots = 1000,
                const Random& random = Random(0));

}  // namespace quanta
