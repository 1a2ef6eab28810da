#pragma once

#include <vector>

#include "quanta/circuit/circuit.h"

namespace quanta {

/// Quantum kernels: how alike two samples are after a circuit has encoded them. `x` [rows, circuit.inputs()], `z`
/// likewise (x itself if empty), `weights` [circuit.weights()]; the result is [rows of x, rows of z], row-major. The
/// states of all samples are computed once, in one batch.

/// |<psi(x)|psi(z)>|^2 (Havlicek et al., Nature 567, 209, 2019). Positive semidefinite, 1 on the diagonal.
std::vector<double> fidelity_kernel(const Circuit& circuit, const std::vector<double>& x,
                                    const std::vector<double>& z = {}, const std::vector<double>& weights = {});

/// exp(-gamma sum_q |rho_q(x) - rho_q(z)|_F^2) of the one-qubit reduced density matrices (Huang et al., Nature
/// Communications 12, 2631, 2021, eq. 9).
std::vector<double> projected_kernel(const Circuit& circuit, double gamma, const std::vector<double>& x,
                                     const std::vector<double>& z = {}, const std::vector<double>& weights = {});

}  // namespace quanta
