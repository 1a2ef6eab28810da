#include "quanta/simulate/density.h"

#include <gmock/gmock.h>
#include <hwy/targets.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <numbers>
#include <type_traits>

#include "quanta/circuit/naive.h"
#include "quanta/circuit/noise.h"
#include "quanta/circuit/random_circuit.h"
#include "quanta/core/error.h"
#include "quanta/core/parallel.h"
#include "quanta/simulate/density_kernels.h"
#include "quanta/simulate/simulator.h"

// The oracle is a 2^n by 2^n matrix for every record of classical bits, on which each operation acts by its Kraus
// operators; gradients are judged by central differences.

namespace quanta {
namespace {

using naive::random_values;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

// --- the oracle
// -------------------------------------------------------------------------------------------------------

using Records = std::map<uint64_t, Matrix>;  // by the classical bits

Matrix sandwich(const Matrix& k, const Matrix& rho) {
  return naive::multiply(naive::multiply(k, rho), k.adjoint());
}

void add_to(Records& records, uint64_t bits, const Matrix& rho) {
  const auto [at, fresh] = records.try_emplace(bits, rho);
  if (!fresh) at->second = naive::add(at->second, rho);
}

Matrix reference(const Circuit& circuit, const double* weights, const double* inputs) {
  const int n = circuit.wires(), dim = 1 << n;
  Records records;
  Matrix start(dim);
  start(0, 0) = 1;
  add_to(records, 0, start);
  const Circuit kept = circuit.without_final_measurements();
  for (const Operation& operation : kept.operations()) {
    Records next;
    for (const auto& [bits, rho] : records) {
      std::vector<uint8_t> bytes(size_t(circuit.clbits()));
      for (size_t b = 0; b < bytes.size(); ++b) bytes[b] = bits >> b & 1;
      if (!std::ranges::all_of(operation.conditions, [&](const auto& c) { return c.holds(bytes.data()); })) {
        add_to(next, bits, rho);
        continue;
      }
      const auto kraus = [&](const Matrix& k, const std::vector<int>& controls = {}) {
        return sandwich(naive::embed(k, operation.wires, controls, n), rho);
      };
      const Matrix zero(2, {1, 0, 0, 0}), one(2, {0, 0, 0, 1}), lower(2, {0, 1, 0, 0});
      if (operation.kind == GateKind::AmplitudeEncoding) {
        double norm = 0;
        for (int i = 0; i < dim; ++i) norm += inputs[i] * inputs[i];
        Matrix psi(dim);
        for (int i = 0; i < dim; ++i)
          for (int j = 0; j < dim; ++j) psi(i, j) = inputs[i] * inputs[j] / norm;
        add_to(next, bits, psi);
      } else if (operation.kind == GateKind::Measure) {
        for (int outcome = 0; outcome < 2; ++outcome)
          for (int read = 0; read < 2; ++read) {
            const double wrong = operation.misread[outcome];
            const uint64_t bit = uint64_t(1) << operation.clbit, after = read ? bits | bit : bits & ~bit;
            add_to(next, after, naive::scale(kraus(outcome ? one : zero), read == outcome ? 1 - wrong : wrong));
          }
      } else if (operation.kind == GateKind::Reset) {
        add_to(next, bits, kraus(zero));
        add_to(next, bits, kraus(lower));
      } else if (operation.kind == GateKind::Channel) {
        for (const Matrix& k : operation.channel->kraus()) add_to(next, bits, kraus(k));
      } else {
        Operation own = operation;
        own.controls.clear();
        add_to(next, bits, kraus(own.unitary(weights, inputs), operation.controls));
      }
    }
    records = std::move(next);
  }
  Matrix sum(dim);
  for (const auto& [bits, rho] : records) sum = naive::add(sum, rho);
  return sum;
}

double reference_expectation(const PauliSum& observable, const Matrix& rho, int n) {
  double sum = 0;
  for (const PauliSum::Term& term : observable.terms) {
    std::string letters(size_t(n), 'I');
    for (const auto& [wire, letter] : term.pauli.factors) letters[size_t(wire)] = letter;
    const Matrix product = naive::multiply(naive::pauli(letters), rho);
    for (int i = 0; i < product.dim; ++i) sum += term.coefficient * product(i, i).real();
  }
  return sum;
}

// --- calls with vectors
// -----------------------------------------------------------------------------------------------

template <class Real>
std::vector<Real> cast(const std::vector<double>& values) {
  return {values.begin(), values.end()};
}

template <class Real>
std::vector<std::complex<Real>> matrices(const DensitySimulator<Real>& simulator, int64_t batch,
                                         const std::vector<double>& weights, const std::vector<double>& inputs) {
  const auto w = cast<Real>(weights), x = cast<Real>(inputs);
  std::vector<std::complex<Real>> result(size_t(batch) << 2 * simulator.wires());
  simulator.matrices(batch, w.data(), x.data(), result.data());
  return result;
}

template <class Real>
std::vector<Real> expectations(const DensitySimulator<Real>& simulator, int64_t batch,
                               const std::vector<double>& weights, const std::vector<double>& inputs) {
  const auto w = cast<Real>(weights), x = cast<Real>(inputs);
  std::vector<Real> result(size_t(batch) * simulator.outputs(), Real(NAN));
  simulator.expectations(batch, w.data(), x.data(), result.data());
  return result;
}

double expectation(const Circuit& circuit, const PauliSum& observable, const std::vector<double>& weights = {}) {
  return expectations(DensitySimulator<double>(circuit, {observable}), 1, weights, {})[0];
}

template <class Real>
struct Gradient {
  std::vector<Real> values, dweights, dinputs;
  friend bool operator==(const Gradient&, const Gradient&) = default;
};

template <class Simulator,
          class Real = std::conditional_t<std::is_same_v<Simulator, DensitySimulator<float>>, float, double>>
Gradient<Real> gradient(const Simulator& simulator, int64_t batch, const std::vector<double>& weights,
                        const std::vector<double>& inputs, const std::vector<double>& upstream) {
  const auto w = cast<Real>(weights), x = cast<Real>(inputs), u = cast<Real>(upstream);
  Gradient<Real> g{std::vector<Real>(size_t(batch) * simulator.outputs(), Real(NAN)),
                   std::vector<Real>(size_t(simulator.weights()), Real(NAN)),
                   std::vector<Real>(size_t(batch) * simulator.inputs(), Real(NAN))};
  simulator.vjp(batch, w.data(), x.data(), u.data(), g.dweights.data(), g.dinputs.data(), g.values.data());
  return g;
}

template <class Real>
double largest_difference(const std::vector<Real>& a, const std::vector<Real>& b) {
  double largest = a.size() == b.size() ? 0 : INFINITY;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i)
    if (const double d = std::abs(double(a[i]) - double(b[i])); !(d <= largest)) largest = std::isnan(d) ? INFINITY : d;
  return largest;
}

void expect_matrices(const Circuit& circuit, const std::string& what, int64_t batch = 2) {
  Random random(3);
  const auto weights = random_values(size_t(circuit.weights()), random);
  const auto inputs = random_values(size_t(batch) * circuit.inputs(), random);
  const std::vector<PauliSum> observables{naive::random_observable(circuit.wires(), 3, random),
                                          sum_of('Z', circuit.wires())};
  const DensitySimulator<double> simulator(circuit, observables);
  const auto result = matrices(simulator, batch, weights, inputs);
  const auto values = expectations(simulator, batch, weights, inputs);
  const size_t size = size_t(1) << 2 * circuit.wires();
  for (int64_t b = 0; b < batch; ++b) {
    const Matrix expected = reference(circuit, weights.data(), inputs.data() + b * circuit.inputs());
    const std::vector<Complex> own(result.begin() + int64_t(size) * b, result.begin() + int64_t(size) * (b + 1));
    EXPECT_LT(naive::distance(own, expected.data), 1e-12) << what << ", sample " << b;
    for (size_t k = 0; k < observables.size(); ++k)
      EXPECT_NEAR(values[size_t(b) * observables.size() + k],
                  reference_expectation(observables[k], expected, circuit.wires()), 1e-12)
          << what << ", sample " << b;
  }
}

// A state that no operation leaves alone.
Circuit scrambled(int wires, int clbits = 0) {
  Circuit circuit(wires, clbits);
  for (int q = 0; q < wires; ++q) circuit.ry(q, 0.4 + 0.3 * q).rz(q, 1.1 - 0.2 * q);
  for (int q = 0; q + 1 < wires; ++q) circuit.cnot(q, q + 1).rx(q, 0.7 + q);
  return circuit;
}

Channel random_channel(int wires, int operators, Random& random) {
  // Columns of a unitary on the wires and an environment.
  const int dim = 1 << wires;
  const Matrix u = naive::random_unitary(dim * operators, random);
  std::vector<Matrix> kraus;
  for (int k = 0; k < operators; ++k) {
    Matrix m(dim);
    for (int i = 0; i < dim; ++i)
      for (int j = 0; j < dim; ++j) m(i, j) = u(k * dim + i, j);
    kraus.push_back(std::move(m));
  }
  return Channel("random", std::move(kraus));
}

std::vector<Channel> all_channels(Random& random) {
  std::vector<double> p1{0.4, 0.1, 0.2, 0.3}, p2(16);
  for (size_t i = 0; i < 16; ++i) p2[i] = double(i + 1) / 136;
  return {bit_flip(0.2),
          phase_flip(0.3),
          bit_phase_flip(0.15),
          depolarizing(0.1),
          depolarizing(0.2, 2),
          depolarizing(0.3, 3),
          amplitude_damping(0.3),
          phase_damping(0.4),
          generalized_amplitude_damping(0.3, 0.2),
          thermal_relaxation(50, 70, 20, 0.1),
          pauli_channel(p1),
          pauli_channel(p2),
          random_channel(1, 3, random),
          random_channel(2, 3, random),
          random_channel(3, 2, random),
          random_channel(4, 2, random)};
}

Circuit random_noisy_circuit(int wires, int operations, int clbits, Random& random) {
  Circuit circuit(wires, clbits);
  const std::vector<Channel> channels = all_channels(random);
  const auto wire = [&] { return int(random.below(uint64_t(wires))); };
  const auto some = [&](Circuit& c) {
    switch (random.below(6)) {
      case 0: {
        const Channel& channel = channels[random.below(channels.size())];
        if (channel.wires() > wires) return;
        std::vector<int> on;
        for (const int64_t q : random.permutation(wires)) on.push_back(int(q));
        on.resize(size_t(channel.wires()));
        c.channel(channel, on);
        return;
      }
      case 1:
        c.reset(wire());
        return;
      default:
        naive::add_random_operation(c, random);
    }
  };
  const auto body_of = [&] {
    for (;;) {
      Circuit body(wires, clbits);
      some(body);
      if (!body.operations().empty() && body.operations()[0].kind != GateKind::Barrier) return body;
    }
  };
  for (int i = 0; i < operations; ++i) {
    if (clbits > 0 && random.below(4) == 0) {
      const int bit = int(random.below(uint64_t(clbits)));
      circuit.add({.kind = GateKind::Measure,
                   .wires = {wire()},
                   .angles = {},
                   .controls = {},
                   .pauli = {},
                   .clbit = bit,
                   .misread = {random.uniform(0, 0.3), random.below(2) ? 0.2 : 0.0}});
    } else if (clbits > 0 && random.below(3) == 0) {
      const int first = int(random.below(uint64_t(clbits))), count = 1 + int(random.below(uint64_t(clbits - first)));
      Circuit body = body_of();
      const int other = first > 0 ? 0 : first + count;
      if (other < clbits && random.below(3) == 0) body.measure(wire(), other);
      circuit.when({.first = first,
                    .count = count,
                    .value = random.below(uint64_t(1) << count),
                    .negated = random.below(2) == 1},
                   body);
    } else {
      some(circuit);
    }
  }
  return circuit;
}

// --- the state
// --------------------------------------------------------------------------------------------------------

TEST(Density, EveryGateWithFurtherControls) {
  for (const GateInfo& info : gate_table()) {
    if (!is_unitary(info.kind)) continue;
    for (const int n : {1, 2, 3, 5})
      for (int controls = 0; controls <= 2; ++controls) {
        const bool sized = info.wires == 0;
        const int own = sized ? std::min(n - controls, 3) : info.wires;
        if (own < 1 || own + controls > n) continue;
        Random random{uint64_t(10 * n + controls)};
        Circuit circuit = scrambled(n);
        std::vector<int> order;
        for (const int64_t q : random.permutation(n)) order.push_back(int(q));
        Operation operation{.kind = info.kind, .wires = {}, .angles = {}, .controls = {}, .pauli = {}};
        operation.wires.assign(order.begin(), order.begin() + own);
        operation.controls.assign(order.begin() + own, order.begin() + own + controls);
        for (int k = 0; k < info.angles; ++k)
          operation.angles.push_back(k % 2 ? weight() + 0.2 : weight() * input(0) + 0.4);
        if (info.kind == GateKind::Unitary)
          operation.matrix = std::make_shared<const Matrix>(naive::random_unitary(1 << own, random));
        if (info.kind == GateKind::PauliRotation) {
          std::vector<std::pair<int, char>> factors;
          for (const int q : operation.wires) factors.emplace_back(q, "XYZ"[random.below(3)]);
          operation.pauli = PauliString(factors);
          operation.wires.clear();
        }
        circuit.add(std::move(operation));
        expect_matrices(circuit, fmt::format("{} on {} wires, {} controls", info.name, n, controls));
      }
  }
}

TEST(Density, EveryChannelOnAnyWires) {
  Random random(5);
  for (const Channel& channel : all_channels(random))
    for (int n = channel.wires(); n <= 5; ++n) {
      std::vector<int> on;
      for (const int64_t q : random.permutation(n)) on.push_back(int(q));
      on.resize(size_t(channel.wires()));
      Circuit circuit = scrambled(n);
      circuit.channel(channel, on);
      for (int q = 0; q < n; ++q) circuit.rx(q, 0.3);
      expect_matrices(circuit, fmt::format("{} on {} of {} wires", channel.name(), channel.wires(), n), 1);
    }
}

TEST(Density, RandomCircuitsWithChannelsResetsMeasurementsAndConditions) {
  for (int trial = 0; trial < 60; ++trial) {
    Random random{uint64_t(100 + trial)};
    const int n = 1 + trial % 5;
    const Circuit circuit = random_noisy_circuit(n, 12, trial % 4, random);
    expect_matrices(circuit, fmt::format("trial {} on {} wires", trial, n), trial % 3 + 1);
  }
}

TEST(Density, StateVectorOfNoiselessCircuits) {
  for (int n = 1; n <= 8; ++n) {
    Random random{uint64_t(n)};
    const Circuit circuit = naive::random_circuit(n, 25, random);
    const auto weights = random_values(size_t(circuit.weights()), random);
    const auto inputs = random_values(size_t(circuit.inputs()), random);
    const Simulator<double> pure(circuit);
    std::vector<Complex> psi(size_t(1) << n), rho;
    pure.states(1, weights.data(), inputs.data(), psi.data());
    for (const Complex& a : psi)
      for (const Complex& b : psi) rho.push_back(a * std::conj(b));
    EXPECT_LT(naive::distance(matrices(DensitySimulator<double>(circuit), 1, weights, inputs), rho), 1e-12) << n;
  }
}

TEST(Density, AmplitudeEncoding) {
  for (int n = 1; n <= 5; ++n) {
    Circuit circuit(n);
    circuit.amplitude_encoding();
    for (int q = 0; q < n; ++q) circuit.ry(q, weight()).channel(amplitude_damping(0.2), {q});
    circuit.cnot_ring();
    expect_matrices(circuit, fmt::format("amplitude encoding on {} wires", n), 3);
  }
}

// Teleportation: three qubits, two measurements, two conditions; what arrives is what was sent.
TEST(Density, TeleportsAState) {
  Circuit circuit(3, 2);
  circuit.u(0, weight(), weight(), weight());
  circuit.h(1).cnot(1, 2).cnot(0, 1).h(0).measure(0, 0).measure(1, 1);
  circuit.when({.first = 1}, Circuit(3, 2).x(2)).when({.first = 0}, Circuit(3, 2).z(2));
  const std::vector<double> angles{0.7, 1.9, -0.4};
  Circuit sent(1);
  sent.u(0, weight(), weight(), weight());
  for (const char letter : {'X', 'Y', 'Z'})
    EXPECT_NEAR(expectation(circuit, PauliSum(PauliString({{2, letter}})), angles),
                expectation(sent, PauliSum(PauliString({{0, letter}})), angles), 1e-13);
}

// A bit that is measured again and again takes one wire only.
TEST(Density, ClassicalBitsAreUsedAgain) {
  Circuit circuit(2, 3);
  for (int round = 0; round < 20; ++round) {
    circuit.ry(0, 0.3 + round).cnot(0, 1).measure(1, round % 3);
    circuit.when({.first = round % 3}, Circuit(2, 3).x(1).rx(0, weight()));
  }
  expect_matrices(circuit, "twenty rounds");
  Circuit large(11, 3);
  for (int q = 0; q < 3; ++q) large.h(q).measure(q, q);
  EXPECT_NO_THROW(DensitySimulator<float>(Circuit(large).when({.first = 1}, Circuit(11, 3).x(5))));
  EXPECT_THAT([&] { DensitySimulator<float>(Circuit(large).when({.first = 0, .count = 3}, Circuit(11, 3).x(5))); },
              ThrowsMessage<Error>(HasSubstr("11 qubits and 3 classical bits")));
}

// --- closed forms
// -----------------------------------------------------------------------------------------------------

// The ansatz of 2403.07025: RY, RZ on every qubit, and between these layers a chain of CNOTs.
Circuit ry_rz_ansatz(int n, int depth) {
  Circuit circuit(n);
  for (int d = 0; d <= depth; ++d) {
    for (int q = 0; q < n; ++q) circuit.ry(q, weight());
    for (int q = 0; q < n; ++q) circuit.rz(q, weight());
    if (d < depth) circuit.cnot_chain();
  }
  return circuit;
}

PauliSum z_string(int n) {
  std::vector<std::pair<int, char>> factors;
  for (int q = 0; q < n; ++q) factors.emplace_back(q, 'Z');
  return PauliSum(PauliString(factors));
}

double noisy_energy(int n, int depth, double p, const std::vector<double>& weights) {
  return expectation(NoiseModel::depolarizing(p, p).apply(ry_rz_ansatz(n, depth)), z_string(n), weights);
}

TEST(Density, DepolarizedAnsatzHasItsPublishedEnergies) {
  EXPECT_NEAR(noisy_energy(1, 0, 0.1, {0.7, 0.3}), 0.6195221717004358, 1e-12);
  EXPECT_NEAR(noisy_energy(2, 0, 0.1, {0.3, 0.8, 0.1, 0.2}), 0.4366931670617974, 1e-12);
  std::vector<double> theta;
  for (int k = 0; k < 8; ++k) theta.push_back(0.3 * (k + 1));
  EXPECT_NEAR(noisy_energy(2, 1, 0, theta), 0.12410687788435598, 1e-12);
  EXPECT_NEAR(noisy_energy(2, 1, 0.01, theta), 0.11643757710191427, 1e-12);
  EXPECT_NEAR(noisy_energy(2, 1, 0.05, theta), 0.08946514783555423, 1e-12);
  EXPECT_NEAR(noisy_energy(2, 1, 0.1, theta), 0.06309265200986444, 1e-12);
  EXPECT_NEAR(noisy_energy(2, 1, 0.2, theta), 0.02912813118282337, 1e-12);
  EXPECT_NEAR(noisy_energy(2, 1, 1, theta), 0, 1e-15);
  // A product of cosines, one factor 1 - p for each gate.
  for (int n = 1; n <= 7; ++n) {
    double expected = std::pow(0.93, 2 * n);
    std::vector<double> angles;
    for (int q = 0; q < n; ++q) {
      angles.push_back(0.2 + 0.1 * q);
      expected *= std::cos(angles.back());
    }
    angles.resize(size_t(2 * n), 0.5);
    EXPECT_NEAR(noisy_energy(n, 0, 0.07, angles), expected, 1e-13) << n;
  }
}

// Each gate's noise is linear in p, so ten energies determine that of the nine gates at every other p.
TEST(Density, EnergyIsAPolynomialInTheNoise) {
  std::vector<double> theta;
  for (int k = 0; k < 8; ++k) theta.push_back(0.3 * (k + 1));
  double interpolated = 0;
  for (int i = 0; i < 10; ++i) {
    double factor = 1;
    for (int j = 0; j < 10; ++j)
      if (j != i) factor *= (0.37 - j / 10.0) / (i / 10.0 - j / 10.0);
    interpolated += factor * noisy_energy(2, 1, i / 10.0, theta);
  }
  EXPECT_NEAR(interpolated, noisy_energy(2, 1, 0.37, theta), 1e-10);
}

TEST(Density, FoldedGatesKeepTheIdealEnergyAndAddTheirNoise) {
  for (const int repeats : {0, 1, 2}) {
    Circuit circuit(1);
    circuit.ry(0, 0.7);
    for (int k = 0; k < repeats; ++k) circuit.ry(0, -0.7).ry(0, 0.7);
    circuit.rz(0, 0.3);
    for (int k = 0; k < repeats; ++k) circuit.rz(0, -0.3).rz(0, 0.3);
    EXPECT_NEAR(expectation(circuit, Z(0)), std::cos(0.7), 1e-14);
    EXPECT_NEAR(expectation(NoiseModel::depolarizing(0.1, 0).apply(circuit), Z(0)),
                std::cos(0.7) * std::pow(0.9, 2 + 4 * repeats), 1e-14);
  }
}

TEST(Density, ChannelsHaveTheirClosedForms) {
  EXPECT_NEAR(expectation(Circuit(1).ry(0, 1.1).channel(amplitude_damping(0.3), {0}), Z(0)), 0.3 + 0.7 * std::cos(1.1),
              1e-14);
  const Circuit mixed = Circuit(2).h(0).cnot(0, 1).channel(depolarizing(1), {0});
  const auto rho = matrices(DensitySimulator<double>(mixed), 1, {}, {});
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 4; ++j) EXPECT_NEAR(std::abs(rho[size_t(4 * i + j)] - (i == j ? 0.25 : 0.0)), 0, 1e-15);
  // Of a Bell pair under depolarizing noise on both: (1 + 3 (1 - p)^2) / 4.
  const Circuit bell = Circuit(2).h(0).cnot(0, 1).channel(depolarizing(0.2, 2), {0, 1});
  double purity = 0;
  DensitySimulator<double>(bell).purity(1, nullptr, nullptr, &purity);
  EXPECT_NEAR(purity, (1 + 3 * 0.64) / 4, 1e-14);
}

// Trace one, Hermitian, and no negative eigenvalue: Cholesky's factorization of rho + 1e-12 exists.
TEST(Density, StateStaysAState) {
  Random random(8);
  for (int trial = 0; trial < 10; ++trial) {
    const int n = 2 + trial % 3;
    const Circuit circuit = random_noisy_circuit(n, 15, trial % 3, random);
    const auto weights = random_values(size_t(circuit.weights()), random);
    const auto inputs = random_values(size_t(circuit.inputs()), random);
    const int dim = 1 << n;
    Matrix rho(dim, matrices(DensitySimulator<double>(circuit), 1, weights, inputs));
    Complex trace = 0;
    for (int i = 0; i < dim; ++i) {
      trace += rho(i, i);
      for (int j = 0; j < dim; ++j) EXPECT_LT(std::abs(rho(i, j) - std::conj(rho(j, i))), 1e-14);
    }
    EXPECT_LT(std::abs(trace - 1.0), 1e-12);
    for (int i = 0; i < dim; ++i) rho(i, i) += 1e-12;
    for (int k = 0; k < dim; ++k) {
      ASSERT_GT(rho(k, k).real(), 0) << trial;
      for (int i = k + 1; i < dim; ++i)
        for (int j = k + 1; j < dim; ++j) rho(i, j) -= rho(i, k) * rho(k, j) / rho(k, k);
    }
  }
}

// --- measurements
// -----------------------------------------------------------------------------------------------------

TEST(Density, ProbabilitiesOfChosenWires) {
  Random random(4);
  const Circuit circuit = random_noisy_circuit(5, 15, 0, random);
  const auto weights = random_values(size_t(circuit.weights()), random);
  const auto inputs = random_values(2 * size_t(circuit.inputs()), random);
  const DensitySimulator<double> simulator(circuit);
  std::vector<double> all(64), some(16), none(2);
  simulator.probabilities(2, weights.data(), inputs.data(), all.data());
  simulator.probabilities(2, weights.data(), inputs.data(), {4, 0, 2}, some.data());
  simulator.probabilities(2, weights.data(), inputs.data(), {}, none.data());
  for (int b = 0; b < 2; ++b) {
    const Matrix rho = reference(circuit, weights.data(), inputs.data() + b * circuit.inputs());
    std::vector<double> expected(8);
    for (int i = 0; i < 32; ++i) {
      EXPECT_NEAR(all[size_t(b * 32 + i)], rho(i, i).real(), 1e-12);
      expected[size_t((i >> 4 & 1) | (i & 1) << 1 | (i >> 2 & 1) << 2)] += rho(i, i).real();
    }
    for (int i = 0; i < 8; ++i) EXPECT_NEAR(some[size_t(b * 8 + i)], expected[size_t(i)], 1e-12);
    EXPECT_NEAR(none[size_t(b)], 1, 1e-12);
  }
}

TEST(Density, ReadOutErrorsMoveWhatIsRead) {
  Circuit circuit(2, 2);
  circuit.ry(0, 1.1).ry(1, 0.4).measure(0, 0).measure(1, 1);
  const Circuit noisy = NoiseModel().readout(0.015, 0.03).readout(0.1, 0.2, 1).apply(circuit);
  const DensitySimulator<double> simulator(noisy, {Z(0)});
  std::vector<double> p(4);
  simulator.readings(1, nullptr, nullptr, p.data());
  const double z0 = (1 - 0.045) * std::cos(1.1) + 0.015, z1 = (1 - 0.3) * std::cos(0.4) + 0.1;
  EXPECT_NEAR(p[0] - p[1] + p[2] - p[3], z0, 1e-14);
  EXPECT_NEAR(p[0] + p[1] - p[2] - p[3], z1, 1e-14);
  EXPECT_NEAR(expectations(simulator, 1, {}, {})[0], std::cos(1.1), 1e-14);  // the state itself

  constexpr int64_t kShots = 200000;
  const auto counts = simulator.counts(2, nullptr, nullptr, kShots, Random(1));
  ASSERT_EQ(counts.size(), 2U);
  EXPECT_NE(counts[0], counts[1]);
  for (const auto& sample : counts) {
    int64_t total = 0;
    for (const auto& [bits, count] : sample) {
      ASSERT_LT(bits, 4U);
      total += count;
      EXPECT_NEAR(double(count), double(kShots) * p[bits], 5 * std::sqrt(double(kShots) * p[bits])) << bits;
    }
    EXPECT_EQ(total, kShots);
  }
}

// --- gradients
// --------------------------------------------------------------------------------------------------------

void expect_gradient(const Circuit& circuit, const std::vector<PauliSum>& observables, int64_t batch,
                     const std::string& what) {
  Random random(17);
  const size_t outputs = observables.size();
  auto weights = random_values(size_t(circuit.weights()), random, 1.5);
  auto inputs = random_values(size_t(batch) * circuit.inputs(), random, 1.5);
  const auto upstream = random_values(size_t(batch) * outputs, random);
  const DensitySimulator<double> simulator(circuit, observables);
  const auto loss = [&] {
    const auto values = expectations(simulator, batch, weights, inputs);
    double sum = 0;
    for (size_t i = 0; i < values.size(); ++i) sum += upstream[i] * values[i];
    return sum;
  };
  const auto g = gradient(simulator, batch, weights, inputs, upstream);
  EXPECT_LT(largest_difference(g.values, expectations(simulator, batch, weights, inputs)), 1e-13) << what;
  const auto check = [&](std::vector<double>& parameters, const std::vector<double>& own, const char* name) {
    for (size_t i = 0; i < parameters.size(); ++i) {
      const double kept = parameters[i];
      const auto at = [&](double step) {
        parameters[i] = kept + step;
        const double value = loss();
        parameters[i] = kept;
        return value;
      };
      constexpr double h = 1e-3;  // five points: an error of h^4
      const double expected = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h);
      EXPECT_NEAR(own[i], expected, 2e-8) << what << ": " << name << " " << i;
    }
  };
  check(weights, g.dweights, "weight");
  check(inputs, g.dinputs, "input");
}

TEST(Density, GradientsOfEveryGateWithNoise) {
  for (const GateInfo& info : gate_table()) {
    if (!is_unitary(info.kind) || info.angles == 0) continue;
    for (const int n : {3, 5})
      for (int controls = 0; controls <= 1; ++controls) {
        Random random{uint64_t(n)};
        const int own = info.wires ? info.wires : 2;
        if (own + controls > n) continue;
        Circuit circuit = scrambled(n);
        Operation operation{.kind = info.kind, .wires = {}, .angles = {}, .controls = {}, .pauli = {}};
        for (int q = 0; q < own; ++q) operation.wires.push_back((q + 1) % n);
        for (int q = 0; q < controls; ++q) operation.controls.push_back((own + 1) % n);
        for (int k = 0; k < info.angles; ++k)
          operation.angles.push_back(k % 2 ? 0.7 * input(0) * input(1) + weight() : weight() * input(0) + 0.4);
        if (info.kind == GateKind::PauliRotation) {
          operation.pauli = PauliString({{operation.wires[0], 'X'}, {operation.wires[1], 'Y'}});
          operation.wires.clear();
        }
        circuit.add(std::move(operation));
        Circuit noisy =
            NoiseModel().after(amplitude_damping(0.1)).after_gates_of(2, depolarizing(0.1, 2)).apply(circuit);
        for (int q = 0; q < n; ++q) noisy.ry(q, weight());
        expect_gradient(noisy, {naive::random_observable(n, 5, random), sum_of('Z', n)}, 2,
                        fmt::format("{} with {} controls on {} wires", info.name, controls, n));
      }
  }
}

TEST(Density, GradientsOfRandomCircuits) {
  for (int trial = 0; trial < 12; ++trial) {
    Random random{uint64_t(300 + trial)};
    const int n = 1 + trial % 6;
    const Circuit circuit = random_noisy_circuit(n, 12, trial % 3, random);
    std::vector<PauliSum> observables;
    for (int k = 0; k < 3; ++k) observables.push_back(naive::random_observable(n, 4, random));
    expect_gradient(circuit, observables, 2, fmt::format("trial {}", trial));
  }
}

TEST(Density, GradientsThroughAmplitudeEncoding) {
  for (const int n : {2, 5}) {
    Circuit circuit(n, 1);
    circuit.amplitude_encoding();
    for (int q = 0; q < n; ++q) circuit.ry(q, weight()).channel(amplitude_damping(0.2), {q});
    circuit.cnot_ring().measure(0, 0).when({.first = 0}, Circuit(n, 1).rx(1, weight()));
    expect_gradient(circuit, each('Z', n), 2, "amplitude encoding");
  }
}

// The shift rule holds under noise, for the expectation stays a sinusoid in each angle.
TEST(Density, GradientsAreParameterShifts) {
  const Circuit circuit = NoiseModel::depolarizing(0.05, 0.1).apply(ry_rz_ansatz(6, 2));
  Random random(2);
  auto weights = random_values(size_t(circuit.weights()), random);
  const DensitySimulator<double> simulator(circuit, {z_string(6) + X(2) * Y(3)});
  const auto g = gradient(simulator, 1, weights, {}, {1});
  for (size_t i = 0; i < weights.size(); ++i) {
    const auto at = [&](double shift) {
      auto shifted = weights;
      shifted[i] += shift;
      return expectations(simulator, 1, shifted, {})[0];
    };
    EXPECT_NEAR(g.dweights[i], (at(std::numbers::pi / 2) - at(-std::numbers::pi / 2)) / 2, 1e-10) << i;
  }
}

TEST(Density, GradientsOfTheStateVectorWithoutNoise) {
  Random random(6);
  const int n = 7;
  const Circuit circuit = naive::random_circuit(n, 30, random);
  const auto weights = random_values(size_t(circuit.weights()), random);
  const auto inputs = random_values(3 * size_t(circuit.inputs()), random);
  const std::vector<PauliSum> observables = {naive::random_observable(n, 6, random), sum_of('Z', n)};
  const auto upstream = random_values(6, random);
  const auto a = gradient(DensitySimulator<double>(circuit, observables), 3, weights, inputs, upstream);
  const auto b = gradient(Simulator<double>(circuit, observables), 3, weights, inputs, upstream);
  EXPECT_LT(largest_difference(a.values, b.values), 1e-12);
  EXPECT_LT(largest_difference(a.dweights, b.dweights), 1e-11);
  EXPECT_LT(largest_difference(a.dinputs, b.dinputs), 1e-11);
}

// --- precision, batches, threads, instruction sets, errors
// ------------------------------------------------------------

struct Case {
  Circuit circuit;
  std::vector<PauliSum> observables;
  std::vector<double> weights, inputs, upstream;
};
// Everything on a few wires, a noisy ansatz on more.
Case make_case(int n, int64_t batch) {
  Random random{uint64_t(n)};
  Case c{Circuit(n), {}, {}, {}, {}};
  if (n <= 5) {
    c.circuit = random_noisy_circuit(n, 15, 2, random);
  } else {
    for (int layer = 0; layer < 2; ++layer) {
      for (int q = 0; q < n; ++q) c.circuit.ry(q, weight() * input(q)).rx(q, weight());
      c.circuit.cnot_ring().rzz(0, n - 1, input(1) + weight());
    }
    c.circuit = NoiseModel().after(amplitude_damping(0.02)).after_gates_of(2, depolarizing(0.05, 2)).apply(c.circuit);
  }
  c.observables = {naive::random_observable(n, 5, random), sum_of('Z', n)};
  c.weights = random_values(size_t(c.circuit.weights()), random);
  c.inputs = random_values(size_t(batch) * c.circuit.inputs(), random);
  c.upstream = random_values(size_t(batch) * 2, random);
  return c;
}

TEST(Density, SinglePrecisionFollowsDouble) {
  for (int n = 1; n <= 7; ++n) {
    const Case c = make_case(n, 3);
    const auto a = gradient(DensitySimulator<float>(c.circuit, c.observables), 3, c.weights, c.inputs, c.upstream);
    const auto b = gradient(DensitySimulator<double>(c.circuit, c.observables), 3, c.weights, c.inputs, c.upstream);
    EXPECT_LT(largest_difference(cast<double>({a.values.begin(), a.values.end()}), b.values), 1e-5) << n;
    EXPECT_LT(largest_difference(cast<double>({a.dweights.begin(), a.dweights.end()}), b.dweights), 2e-4) << n;
    EXPECT_LT(largest_difference(cast<double>({a.dinputs.begin(), a.dinputs.end()}), b.dinputs), 2e-4) << n;
  }
}

template <class Real>
void expect_batches_and_threads_alike() {
  const int before = threads();
  for (const int n : {2, 4, 5, 9}) {
    const int64_t kBatch = n < 9 ? 19 : 3;
    const Case c = make_case(n, kBatch);
    const DensitySimulator<Real> simulator(c.circuit, c.observables);
    set_threads(1);
    const auto one = gradient(simulator, kBatch, c.weights, c.inputs, c.upstream);
    const auto values = expectations(simulator, kBatch, c.weights, c.inputs);
    set_threads(2);
    EXPECT_EQ(gradient(simulator, kBatch, c.weights, c.inputs, c.upstream), one) << n;
    EXPECT_EQ(expectations(simulator, kBatch, c.weights, c.inputs), values) << n;
    for (int64_t b = 0; b < kBatch; ++b) {
      const size_t columns = size_t(c.circuit.inputs());
      const std::vector<double> inputs(c.inputs.begin() + b * int64_t(columns),
                                       c.inputs.begin() + (b + 1) * int64_t(columns));
      const auto alone =
          gradient(simulator, 1, c.weights, inputs, {c.upstream.begin() + 2 * b, c.upstream.begin() + 2 * b + 2});
      const auto own = expectations(simulator, 1, c.weights, inputs);
      for (size_t k = 0; k < 2; ++k) {
        EXPECT_EQ(alone.values[k], one.values[size_t(b) * 2 + k]) << n << " " << b;
        EXPECT_EQ(own[k], values[size_t(b) * 2 + k]) << n << " " << b;
      }
      for (size_t j = 0; j < columns; ++j) EXPECT_EQ(alone.dinputs[j], one.dinputs[size_t(b) * columns + j]) << n;
    }
  }
  set_threads(before);
}
TEST(Density, ABatchGivesWhatItsSamplesGiveWithAnyNumberOfThreads) {
  expect_batches_and_threads_alike<double>();
  expect_batches_and_threads_alike<float>();
}

// The kernels are chosen once in a process, so each set but the machine's best needs a process of its own.
void check_without(int64_t targets, size_t most_lanes) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        hwy::DisableTargets(targets);
        EXPECT_LE(simulate::pauli_basis::density_kernels<float>().lanes, most_lanes);
        Random random(9);
        for (int n = 1; n <= 5; ++n) {
          const Circuit circuit = random_noisy_circuit(n, 12, 1, random);
          expect_matrices(circuit, fmt::format("{} wires", n));
          expect_gradient(circuit, {naive::random_observable(n, 4, random)}, 2, fmt::format("{} wires", n));
        }
        std::exit(testing::Test::HasFailure());
      },
      testing::ExitedWithCode(0), "");
}
#if HWY_ARCH_X86
TEST(DensityInstructionSet, Avx2) {
  if (!(hwy::SupportedTargets() & HWY_AVX2)) GTEST_SKIP() << "this processor lacks it";
  check_without(HWY_AVX2 - 1, 8);
}
TEST(DensityInstructionSet, Baseline) {
  check_without(2 * HWY_AVX2 - 1, 4);
}
#endif

TEST(Density, RefusesWhatItCannotDo) {
  EXPECT_THAT([] { DensitySimulator<double>(Circuit(13)); }, ThrowsMessage<Error>(HasSubstr("0.5 GiB")));
  EXPECT_THAT([] { DensitySimulator<double>(Circuit(2), {Z(2)}); },
              ThrowsMessage<Error>(HasSubstr("wire 2 is out of range")));
  const DensitySimulator<double> simulator(Circuit(2), {Z(0)});
  double value = 0;
  EXPECT_THAT([&] { simulator.expectations(-1, nullptr, nullptr, &value); }, ThrowsMessage<Error>(HasSubstr("batch")));
  EXPECT_THAT(
      [&] {
        simulator.probabilities(1, nullptr, nullptr, {0, 0}, &value);
      },
      ThrowsMessage<Error>(HasSubstr("named twice")));
  EXPECT_THAT([&] { simulator.probabilities(1, nullptr, nullptr, {2}, &value); },
              ThrowsMessage<Error>(HasSubstr("out of range")));
  EXPECT_THAT([&] { simulator.samples(1, nullptr, nullptr, -1, Random(1), nullptr); },
              ThrowsMessage<Error>(HasSubstr("shots")));
  Circuit encoded(1);
  encoded.amplitude_encoding();
  const std::vector<double> zeros(2);
  EXPECT_THAT([&] { DensitySimulator<double>(encoded, {Z(0)}).expectations(1, nullptr, zeros.data(), &value); },
              ThrowsMessage<Error>(HasSubstr("norm")));
}

TEST(Density, EmptyCircuitsAndBatches) {
  for (const int n : {1, 4, 5, 8}) {
    EXPECT_EQ(expectation(Circuit(n), z_string(n)), 1) << n;
    EXPECT_EQ(expectation(Circuit(n).x(0), z_string(n)), -1) << n;
    EXPECT_EQ(gradient(DensitySimulator<double>(Circuit(n), {Z(0)}), 1, {}, {}, {1}).values[0], 1) << n;
  }
  const double angle = 1;
  DensitySimulator<double>(Circuit(1).ry(0, weight()), {Z(0)}).expectations(0, &angle, nullptr, nullptr);
}

}  // namespace
}  // namespace quanta
