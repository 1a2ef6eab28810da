#pragma once

#include <vector>

#include "quanta/circuit/pauli.h"
#include "quanta/core/random.h"

namespace quanta {

/// Hamiltonians by name, one qubit a site. A chain is open unless `periodic`, which adds the bond (n - 1, 0) where n
/// > 2.

/// -coupling sum Z Z - field sum X.
PauliSum transverse_ising(int wires, double coupling = 1, double field = 1, bool periodic = false);
/// coupling sum (X X + Y Y + anisotropy Z Z).
PauliSum xxz(int wires, double coupling = 1, double anisotropy = 1, bool periodic = false);
/// coupling sum (X X + Y Y + Z Z).
PauliSum heisenberg(int wires, double coupling = 1, bool periodic = false);

struct Edge {
  int a;
  int b;
  double weight = 1;
};

/// sum weight (Z_a Z_b - 1) / 2: minus the weight of the edges that the bit string cuts, so the ground energy is minus
/// the largest cut.
PauliSum max_cut(const std::vector<Edge>& edges);
/// x^T q x for bits x, q a square matrix: qubit i in |1> means x_i = 1. With its constant, so the ground energy is the
/// least value.
PauliSum qubo(const std::vector<std::vector<double>>& q);

/// A simple graph whose nodes all have this degree, about uniformly drawn; edges (a < b) sorted, of weight 1.
std::vector<Edge> random_regular_graph(int nodes, int degree, Random random);

/// Molecules in the STO-3G basis, energies in Hartree. The constants contain the repulsion of the nuclei (and of LiH
/// the frozen core), so ground energies are total energies. Computed with PySCF and OpenFermion.

/// H2 at 0.735 Angstrom, Jordan-Wigner, 4 qubits: the bonding orbital with spin up, down, then the antibonding one.
/// Hartree- Fock is X(0), X(1) on |0000> with -1.116998997; the ground energy is -1.137306036 (full configuration
/// interaction).
PauliSum hydrogen();
/// The same molecule and energy on 2 qubits, by the symmetry-conserving Bravyi-Kitaev map for 2 electrons.
PauliSum hydrogen_reduced();
/// LiH at 1.5949 Angstrom on 4 qubits: the core of Li frozen, the orbitals 1, 2 and 5 active with 2 electrons, by the
/// same map. The ground energy is -7.881146469 (in the full basis -7.882403410).
PauliSum lithium_hydride();

}  // namespace quanta
