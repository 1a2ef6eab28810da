// The ground state of the hydrogen molecule by a variational circuit, without noise, with noise, and with the noise
// extrapolated away.
#include <fmt/core.h>

#include <cmath>

#include "quanta/circuit/ansaetze.h"
#include "quanta/circuit/hamiltonians.h"
#include "quanta/simulate/density.h"
#include "quanta/variational/ground_energy.h"
#include "quanta/variational/mitigation.h"
#include "quanta/variational/vqe.h"

using namespace quanta;

int main() {
  const PauliSum molecule = hydrogen();
  Circuit ansatz(4);
  uccsd(ansatz, 2);
  const Minimum ground = Vqe<>(ansatz, molecule).minimize(Lbfgs{});
  const double exact = ground_energy(molecule);
  fmt::print("VQE {:.6f} Hartree after {} evaluations, exact {:.6f}\n", ground.value, ground.evaluations, exact);

  const NoiseModel noise = NoiseModel::depolarizing(1e-3, 1e-3);
  const std::vector<double> factors = {1, 3, 5};
  std::vector<double> energies;
  for (const double factor : factors)
    energies.push_back(
        Vqe<DensitySimulator<double>>(noise.apply(fold_gates(ansatz, factor)), molecule).energy(ground.x));
  const auto curve = richardson_extrapolator();
  curve->fit(factors, energies);
  fmt::print("with noise {:.6f}, extrapolated {:.6f}\n", energies[0], curve->at(0));

  const bool right =
      std::abs(ground.value - exact) < 1e-6 && std::abs(curve->at(0) - exact) < 0.1 * std::abs(energies[0] - exact);
  return right ? 0 : 1;
}
