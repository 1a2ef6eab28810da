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

// The sum of Qiskit's VQE tutorials (0.735 Angstrom, parity map, two qubits tapered; no repulsion of the nuclei) is
// ours after X on qubit 1, and 1 / distance in Bohr.
TEST(Hamiltonians, HydrogenIsThePublishedSum) {
  const double repulsion = 0.52917721067 / 0.735;
  const PauliSum published = (repulsion - 1.052373245772859) * PauliSum(1.0) + 0.39793742484318045 * Z(0) -
                             0.39793742484318045 * Z(1) - 0.01128010425623538 * Z(0) * Z(1) +
                             0.18093119978423156 * X(0) * X(1);
  const Matrix theirs = published.matrix(2), ours = hydrogen_reduced().matrix(2);
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 4; ++j) EXPECT_NEAR(std::abs(theirs(i, j) - ours(i ^ 2, j ^ 2)), 0, 1e-9) << i << " " << j;
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
  EXPECT_NEAR(vqe.minimize(NaturalGradient{.step = 0.5}).value, ground_energy(hydrogen()), 1e-6);
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

TEST(Vqe, FindsLithiumHydridesGroundState) {
  Circuit ansatz(4);
  efficient_su2(ansatz, 3);
  const Vqe<> vqe(ansatz, lithium_hydride());
  double least = 0;
  for (uint64_t seed = 0; seed < 5; ++seed)
    least = std::min(least, vqe.minimize(Lbfgs{}, uniform(size_t(ansatz.weights()), seed, 1)).value);
  EXPECT_NEAR(least, ground_energy(lithium_hydride()), 1e-6);
}

// g_ij = -1/2 d^2 / dd_i dd_j |<psi(w)|psi(w + d)>|^2, by central differences.
TEST(Vqe, NaturalGradientsMetricIsThatOfTheStates) {
  Circuit ansatz(3);
  efficient_su2(ansatz, 1);
  ansatz.ry(0, weight(2));  // a shared weight
  const size_t n = size_t(ansatz.weights());
  const std::vector<double> weights = uniform(n, 5, 1);
  std::vector<double> metric(n * n);
  Vqe<>(ansatz, heisenberg(3)).objective().metric(weights, metric);
  const Simulator<double> simulator(ansatz);
  const auto overlap = [&](const std::vector<double>& moved) {
    std::vector<Complex> a(8), b(8);
    simulator.states(1, weights.data(), nullptr, a.data());
    simulator.states(1, moved.data(), nullptr, b.data());
    Complex sum = 0;
    for (size_t k = 0; k < 8; ++k) sum += std::conj(a[k]) * b[k];
    return std::norm(sum);
  };
  const double h = 1e-3;
  for (size_t i = 0; i < n; ++i)
    for (size_t j = 0; j < n; ++j) {
      double expected = 0;
      for (const double a : {h, -h})
        for (const double b : {h, -h}) {
          std::vector<double> moved = weights;
          moved[i] += a, moved[j] += b;
          expected -= overlap(moved) / (8 * a * b);
        }
      EXPECT_NEAR(metric[i * n + j], expected, 1e-5) << i << " " << j;
    }
}

// Two gates with one weight: the energy has twice the frequency.
TEST(Vqe, RotosolveRefusesSharedWeightsUnlessToldTheirFrequencies) {
  Circuit ansatz(2);
  ansatz.ry(0, weight(0)).ry(1, weight(0)).rx(1, weight(1));
  const Vqe<> vqe(ansatz, Z(0) * Z(1) + 0.3 * X(0) + 0.2 * Y(1));
  const std::vector<double> start = {0.4, 0.2};
  EXPECT_THAT([&] { vqe.minimize(Rotosolve{}, start); },
              ThrowsMessage<Error>(HasSubstr("along parameter 0 the objective is no trigonometric polynomial")));
  const double found = vqe.minimize(Rotosolve{.sweeps = 100, .frequencies = 2}, start).value;
  double least = 0;  // by brute force
  for (int i = 0; i < 400; ++i)
    for (int j = 0; j < 400; ++j)
      least = std::min(least, vqe.energy(std::vector<double>{2 * kPi * i / 400, 2 * kPi * j / 400}));
  EXPECT_LE(found, least + 1e-9);
  EXPECT_NEAR(found, least, 1e-3);
}

TEST(Vqe, RefusesWeightsOfAnotherNumber) {
  Circuit ansatz(1);
  ansatz.ry(0, weight(0));
  EXPECT_THAT(
      [&] {
        Vqe<>(ansatz, Z(0)).energy(std::vector<double>{1, 2});
      },
      ThrowsMessage<Error>(HasSubstr("got 2 weights, the ansatz has 1")));
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
  EXPECT_THAT([] { qaoa_circuit(Z(0) * Z(1), 0); }, ThrowsMessage<Error>(HasSubstr("p is 0")));
  EXPECT_THAT([] { qaoa(Z(0) * Z(1), 1, Lbfgs{}, 0); }, ThrowsMessage<Error>(HasSubstr("0 shots")));
  EXPECT_THAT([] { qaoa(Z(0) * Z(1), 0); }, ThrowsMessage<Error>(HasSubstr("p is 0")));
  EXPECT_THAT([] { qaoa_interpolate({1}); }, ThrowsMessage<Error>(HasSubstr("pairs of gamma and beta")));
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

TEST(Kernels, ArePositiveSemidefinite) {
  Circuit circuit(4);
  zz_feature_map(circuit);
  const size_t n = 30;
  const std::vector<double> x = uniform(4 * n, 3, 1);
  for (std::vector<double> gram : {fidelity_kernel(circuit, x), projected_kernel(circuit, 1, x)}) {
    for (size_t i = 0; i < n; ++i) gram[i * n + i] += 1e-10;
    // Gauss: all pivots positive.
    for (size_t k = 0; k < n; ++k) {
      ASSERT_GT(gram[k * n + k], 0);
      for (size_t i = k + 1; i < n; ++i)
        for (size_t j = n; j-- > k;) gram[i * n + j] -= gram[i * n + k] / gram[k * n + k] * gram[k * n + j];
    }
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

// Both kernels of an entangling circuit with weights against density matrices written out.
TEST(Kernels, AreTheirDefinitions) {
  Circuit circuit(3);
  zz_feature_map(circuit);
  efficient_su2(circuit, 1);
  const std::vector<double> weights = uniform(size_t(circuit.weights()), 4, 2);
  const std::vector<double> x = uniform(3 * 12, 5, 1), z = uniform(3 * 4, 6, 1);
  const auto states = [&](const std::vector<double>& samples) {
    std::vector<Complex> values(samples.size() / 3 * 8);
    Simulator<double>(circuit).states(int64_t(samples.size() / 3), weights.data(), samples.data(), values.data());
    return values;
  };
  const auto a = states(x), b = states(z);
  // <i| rho_q |j>: the other qubits traced out.
  const auto reduced = [](const Complex* psi, int q, int i, int j) {
    Complex sum = 0;
    for (int rest = 0; rest < 8; ++rest)
      if (!(rest >> q & 1)) sum += psi[rest | i << q] * std::conj(psi[rest | j << q]);
    return sum;
  };
  const std::vector<double> fidelity = fidelity_kernel(circuit, x, z, weights),
                            projected = projected_kernel(circuit, 0.7, x, z, weights);
  for (size_t r = 0; r < 12; ++r)
    for (size_t s = 0; s < 4; ++s) {
      Complex overlap = 0;
      for (size_t k = 0; k < 8; ++k) overlap += std::conj(a[8 * r + k]) * b[8 * s + k];
      EXPECT_NEAR(fidelity[4 * r + s], std::norm(overlap), 1e-12);
      double distance = 0;
      for (int q = 0; q < 3; ++q)
        for (int i = 0; i < 2; ++i)
          for (int j = 0; j < 2; ++j) distance += std::norm(reduced(&a[8 * r], q, i, j) - reduced(&b[8 * s], q, i, j));
      EXPECT_NEAR(projected[4 * r + s], std::exp(-0.7 * distance), 1e-12);
    }
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
  EXPECT_THAT(
      [&] {
        projected_kernel(circuit, 0, {1, 2});
      },
      ThrowsMessage<Error>("projected kernel: gamma is 0, expected a positive number"));
}

}  // namespace
}  // namespace quanta
