#pragma once

#include "quanta/circuit/pauli.h"

namespace quanta {

/// The least eigenvalue on `wires` qubits (up to 16; the observable's own if 0), by Lanczos' method without a matrix,
/// about 1e-12 of the sum of the coefficients.
double ground_energy(const PauliSum& hamiltonian, int wires = 0);

}  // namespace quanta
