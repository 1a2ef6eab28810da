#include <gmock/gmock.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <numbers>

#include "quanta/circuit/ansaetze.h"
#include "quanta/circuit/encodings.h"
#include "quanta/circuit/hamiltonians.h"
#include "quanta/variational/ground_energy.h"
#include "quanta/variational/kernel.h"
#include "quanta/variational/qaoa.h"
#include "quanta/variational/vqe.h"

namespace quanta {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;
constexpr double kPi = std::numbers::pi;

std::vector<double> uniform(size_t count, uint64_t seed, double size) {
  Random random(seed);
  std::vector<double> values(count);
  for (double& value : values) value = random.uniform(-size, size);
  return values;
}

// --- Hamiltonians and their ground energies

TEST(GroundEnergy, OfTheTransverseIsingRingIsTheFreeFermionSum) {
  // Pfeuty 1970: - sum_k sqrt(1 + h^2 - 2 h cos k), k = (2 m + 1) pi / n.
  for (const int n : {4, 8, 12})
    for (const double field : {0.5, 1.0, 1.7}) {
      double energy = 0;
      for (int m = 0; m < n; ++m) energy -= std::sqrt(1 + field * field - 2 * field * std::cos((2 * m + 1) * kPi / n));
      EXPECT_NEAR(ground_energy(transverse_ising(n, 1, field, true)), energy, 1e-9) << n << " " << field;
    }
  EXPECT_NEAR(ground_energy(transverse_ising(4)), -4.758770483, 1e-9);
}

TEST(GroundEnergy, OfHeisenbergRingsAndOfTheXXChain) {
  EXPECT_NEAR(ground_energy(heisenberg(4, 1, true)), -8, 1e-10);                 // -2 J in spins 1/2, times 4
  EXPECT_NEAR(ground_energy(heisenberg(6, 1, true)) / 4, -2.80277563773, 1e-9);  // Bethe's ansatz: -(2 + sqrt 13) / 2
  // Open XX chain: free fermions with energies 4 cos(k pi / (n + 1)).
  double energy = 0;
  for (int k = 1; k <= 7; ++k) energy += std::min(0.0, 4 * std::cos(k * kPi / 8));
  EXPECT_NEAR(ground_energy(xxz(7, 1, 0)), energy, 1e-9);
}

TEST(GroundEnergy, OfMolecules) {
  // Full configuration interaction by PySCF, total energies.
  EXPECT_NEAR(ground_energy(hydrogen()), -1.1373060357534, 1e-10);
  EXPECT_NEAR(ground_energy(hydrogen_reduced()), -1.1373060357534, 1e-10);
  EXPECT_NEAR(ground_energy(lithium_hydride()), -7.881146468515, 1e-10);
}

TEST(GroundEnergy, RefusesManyQubits) {
  EXPECT_THAT([] { ground_energy(Z(16)); }, ThrowsMessage<Error>(HasSubstr("17 qubits, expected at most 16")));
}

TEST(Hamiltonians, MaxCutIsMinusTheCut) {
  const std::vector<Edge> edges = {{0, 1, 2}, {1, 2, 0.5}, {0, 2, 1}, {2, 3, -1}};
  for (uint64_t bits = 0; bits < 16; ++bits) {
    double cut = 0;
    for (const Edge& edge : edges)
      if (((bits >> edge.a) ^ (bits >> edge.b)) & 1) cut += edge.weight;
    EXPECT_NEAR(diagonal_value(max_cut(edges), bits), -cut, 1e-14);
  }
  EXPECT_THAT([] { max_cut({{1, 1}}); }, ThrowsMessage<Error>("edge 1-1: expected two different nodes from 0"));
}

TEST(Hamiltonians, QuboIsTheQuadraticForm) {
  const std::vector<std::vector<double>> q = {{1, -2, 0}, {0.5, 3, 1}, {0, -4, 0.25}};
  for (uint64_t bits = 0; bits < 8; ++bits) {
    double value = 0;
    for (size_t i = 0; i < 3; ++i)
      for (size_t j = 0; j < 3; ++j) value += q[i][j] * double((bits >> i) & 1) * double((bits >> j) & 1);
    EXPECT_NEAR(diagonal_value(qubo(q), bits), value, 1e-14);
  }
  EXPECT_THAT([] { qubo({{1, 2}}); }, ThrowsMessage<Error>(HasSubstr("row 0 has 2 elements, expected 1")));
}

TEST(Hamiltonians, RegularGraphsAre) {
  for (const auto& [nodes, degree] : {std::pair(10, 3), {8, 7}, {50, 4}, {2, 1}})
    for (uint64_t seed = 0; seed < 5; ++seed) {
      std::vector<int> degrees(size_t(nodes), 0);
      std::vector<std::pair<int, int>> seen;
      for (const Edge& edge : random_regular_graph(nodes, degree, Random(seed))) {
        ++degrees[size_t(edge.a)], ++degrees[size_t(edge.b)];
        EXPECT_LT(edge.a, edge.b);
        seen.emplace_back(edge.a, edge.b);
      }
      EXPECT_THAT(degrees, ::testing::Each(degree));
      EXPECT_EQ(std::ranges::adjacent_find(seen), seen.end());
    }
  EXPECT_THAT([] { random_regular_graph(5, 3, Random(0)); }, ThrowsMessage<Error>(HasSubstr("an even product")));
}

// --- VQE

TEST(Uccsd, KeepsTheNumberOfElectronsAndTheirSpin) {
  for (const auto& [wires, electrons] : {std::pair(4, 2), {6, 2}, {6, 3}, {8, 4}}) {
    Circuit circuit(wires);
    uccsd(circuit, electrons);
    ASSERT_GT(circuit.weights(), 0);
    const std::vector<double> weights = uniform(size_t(circuit.weights()), 1, 2);
    std::vector<double> probabilities(size_t{1} << wires);
    Simulator<double>(circuit).probabilities(1, weights.data(), nullptr, probabilities.data());
    double kept = 0, moved = 0;
    const int up = (electrons + 1) / 2;
    for (size_t i = 0; i < probabilities.size(); ++i)
      if (std::popcount(i) == electrons && std::popcount(i & 0x5555) == up) kept += probabilities[i];
    moved = 1 - probabilities[(size_t{1} << electrons) - 1];
    EXPECT_NEAR(kept, 1, 1e-12);
    EXPECT_GT(moved, 0.1);
  }
}

TEST(Vqe, FindsHydrogensGroundState) {
  Circuit ansatz(4);
  uccsd(ansatz, 2);
  const Vqe<> vqe(ansatz, hydrogen());
  EXPECT_NEAR(vqe.energy(std::vector<double>(size_t(ansatz.weights()))), -1.116998996754, 1e-10);  // Hartree-Fock
  EXPECT_NEAR(vqe.minimize().value, ground_energy(hydrogen()), 1e-6);
  EXPECT_NEAR(vqe.minimize(Rotosolve{.frequencies = 8, .base = 0.25}).value, ground_energy(hydrogen()), 1e-6);
}

TEST(Vqe, TakesAnyOptimizer) {
  Circuit ansatz(2);
  efficient_su2(ansatz, 1);
  const Vqe<> vqe(ansatz, hydrogen_reduced());
  const double exact = ground_energy(hydrogen_reduced());
  const std::vector<double> start = uniform(size_t(ansatz.weights()), 3, 1);
  EXPECT_NEAR(vqe.minimize(Lbfgs{}, start).value, exact, 1e-6);
  EXPECT_NEAR(vqe.minimize(Adam{.iterations = 500}, start).value, exact, 1e-6);
  EXPECT_NEAR(vqe.minimize(Cobyla{.max_evaluations = 3000, .rho_end = 1e-7}, start).value, exact, 1e-6);
  EXPECT_NEAR(vqe.minimize(Rotosolve{.sweeps = 200}, start).value, exact, 1e-6);
  EXPECT_NEAR(vqe.minimize(Spsa{.iterations = 2000, .a = 1}, start).value, exact, 1e-3);
}

TEST(Vqe, RefusesInputs) {
  Circuit ansatz(1);
  ansatz.ry(0, input(0));
  EXPECT_THAT([&] { Vqe<>(ansatz, Z(0)); }, ThrowsMessage<Error>(HasSubstr("the ansatz has 1 inputs")));
}

// --- QAOA

TEST(Qaoa, OneLayerHasItsClosedForm) {
  // Wang, Hadfield, Jiang, Rieffel, PRA 97, 022304, eq. 14, for exp(-i gamma C) with C the cut: our cost is -C.
  // Random ones, and with triangles a prism and the complete graph.
  for (const std::vector<Edge>& edges :
       {random_regular_graph(8, 3, Random(0)), random_regular_graph(10, 3, Random(1)),
        std::vector<Edge>{{0, 1}, {1, 2}, {0, 2}, {3, 4}, {4, 5}, {3, 5}, {0, 3}, {1, 4}, {2, 5}},
        std::vector<Edge>{{0, 1}, {0, 2}, {0, 3}, {1, 2}, {1, 3}, {2, 3}}}) {
    const auto joined = [&](int a, int b) {
      return std::ranges::any_of(edges, [&](const Edge& e) { return std::minmax(a, b) == std::minmax(e.a, e.b); });
    };
    const double gamma = 0.7, beta = 0.4;
    double cut = 0;
    for (const Edge& edge : edges) {
      int f = 0;
      for (int node = 0; node < 10; ++node) f += joined(edge.a, node) && joined(edge.b, node);
      cut += 0.5 + 0.25 * std::sin(4 * beta) * std::sin(gamma) * 2 * std::pow(std::cos(gamma), 2) -
             0.25 * std::pow(std::sin(2 * beta), 2) * std::pow(std::cos(gamma), 4 - 2 * f) *
                 (1 - std::pow(std::cos(2 * gamma), f));
    }
    EXPECT_NEAR(Vqe<>(qaoa_circuit(max_cut(edges), 1), max_cut(edges)).energy(std::vector<double>{-gamma, beta}), -cut,
                1e-12);
  }
}

TEST(Qaoa, CutsRings) {
  std::vector<Edge> ring;
  for (int i = 0; i < 10; ++i) ring.push_back({i, (i + 1) % 10});
  // Farhi et al.: (2 p + 1) / (2 p + 2) of a long ring.
  for (int p = 1; p <= 3; ++p)
    EXPECT_NEAR(qaoa(max_cut(ring), p).minimum.value / 10, -(2.0 * p + 1) / (2 * p + 2), 1e-6) << p;
  const QaoaResult result = qaoa(max_cut(ring), 3);
  EXPECT_EQ(result.best.cost, -10);
  EXPECT_THAT(result.best.bits, ::testing::AnyOf(0b0101010101u, 0b1010101010u));
}

TEST(Qaoa, Interpolates) {
  EXPECT_EQ(qaoa_interpolate({1, 10}), (std::vector<double>{1, 10, 1, 10}));
  EXPECT_EQ(qaoa_interpolate({1, 10, 3, 30}), (std::vector<double>{1, 10, 2, 20, 3, 30}));
}

TEST(Qaoa, RefusesCostsThatAreNotDiagonal) {
  EXPECT_THAT([] { qaoa_circuit(X(0) * Z(1), 1); }, ThrowsMessage<Error>(HasSubstr("the term X0 Z1")));
}

// --- kernels

TEST(FidelityKernel, OfAngleEncodingIsAProductOfCosines) {
  Circuit circuit(3);
  angle_encoding(circuit);
  circuit.cnot_ring();
  const std::vector<double> x = uniform(3 * 700, 1, 3), z = uniform(3 * 5, 2, 3);
  const auto expected = [](const double* a, const double* b) {
    double product = 1;
    for (int q = 0; q < 3; ++q) product *= std::pow(std::cos((a[q] - b[q]) / 2), 2);
    return product;
  };
  const std::vector<double> gram = fidelity_kernel(circuit, x), cross = fidelity_kernel(circuit, x, z);
  double error = 0;
  for (size_t i = 0; i < 700; ++i) {
    for (size_t j = 0; j < 700; ++j)
      error = std::max(error, std::abs(gram[i * 700 + j] - expected(&x[3 * i], &x[3 * j])));
    for (size_t j = 0; j < 5; ++j) error = std::max(error, std::abs(cross[i * 5 + j] - expected(&x[3 * i], &z[3 * j])));
  }
  EXPECT_LT(error, 1e-12);
}

TEST(FidelityKernel, IsPositiveSemidefinite) {
  Circuit circuit(4);
  zz_feature_map(circuit);
  const size_t n = 30;
  std::vector<double> gram = fidelity_kernel(circuit, uniform(4 * n, 3, 1));
  for (size_t i = 0; i < n; ++i) gram[i * n + i] += 1e-10;
  // Gauss: all pivots positive.
  for (size_t k = 0; k < n; ++k) {
    ASSERT_GT(gram[k * n + k], 0);
    for (size_t i = k + 1; i < n; ++i)
      for (size_t j = n; j-- > k;) gram[i * n + j] -= gram[i * n + k] / gram[k * n + k] * gram[k * n + j];
  }
}

TEST(ProjectedKernel, OfOneQubitIsByTheAngle) {
  Circuit circuit(1);
  angle_encoding(circuit);
  // Bloch vectors at an angle d: |rho - rho'|^2 = 2 sin^2(d / 2)
  const std::vector<double> gram = projected_kernel(circuit, 0.8, {0.3, 1.1}, {-0.4});
  EXPECT_NEAR(gram[0], std::exp(-1.6 * std::pow(std::sin(0.35), 2)), 1e-12);
  EXPECT_NEAR(gram[1], std::exp(-1.6 * std::pow(std::sin(0.75), 2)), 1e-12);
}

TEST(Kernels, RefuseWrongShapes) {
  Circuit circuit(2);
  angle_encoding(circuit);
  EXPECT_THAT(
      [&] {
        fidelity_kernel(circuit, {1, 2, 3});
      },
      ThrowsMessage<Error>("kernel: 3 numbers, expected rows of the circuit's 2 inputs"));
  EXPECT_THAT(
      [&] {
        fidelity_kernel(circuit, {1, 2}, {}, {1});
      },
      ThrowsMessage<Error>("kernel: 1 weights, the circuit has 0"));
}

}  // namespace
}  // namespace quanta
