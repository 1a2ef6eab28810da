#include "quanta/simulate/simulator.h"

#include <gmock/gmock.h>
#include <hwy/targets.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numbers>
#include <numeric>
#include <thread>
#include <type_traits>

#include "quanta/circuit/ansaetze.h"
#include "quanta/circuit/encodings.h"
#include "quanta/circuit/naive.h"
#include "quanta/circuit/random_circuit.h"
#include "quanta/core/error.h"
#include "quanta/core/parallel.h"
#include "quanta/simulate/kernels.h"

// The oracle of all of this is a state vector of std::complex<double> to which each operation's matrix is applied by
// its definition (circuit/naive.h). Gradients are judged by central differences of that.

namespace quanta {
namespace {

using naive::random_circuit;
using naive::random_observable;
using naive::random_values;
using naive::State;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

constexpr double kPi = std::numbers::pi;

template <class Real>
constexpr double kTolerance = std::is_same_v<Real, double> ? 1e-12 : 1e-5;

// --- the oracle
// -------------------------------------------------------------------------------------------------------

State reference_state(const Circuit& circuit, const double* weights, const double* inputs) {
  State state(size_t{1} << circuit.wires());
  state[0] = 1;
  for (const Operation& operation : circuit.operations()) {
    if (operation.kind == GateKind::Barrier) continue;
    if (operation.kind == GateKind::AmplitudeEncoding) {
      double norm = 0;
      for (size_t b = 0; b < state.size(); ++b) norm += inputs[b] * inputs[b];
      for (size_t b = 0; b < state.size(); ++b) state[b] = inputs[b] / std::sqrt(norm);
      continue;
    }
    Operation own = operation;
    own.controls.clear();
    naive::apply(own.unitary(weights, inputs), own.wires, operation.controls, state);
  }
  return state;
}

double reference_expectation(const PauliSum& observable, const State& state) {
  Complex sum = 0;
  for (const PauliSum::Term& term : observable.terms) {
    State image = state;
    for (const auto& [wire, letter] : term.pauli.factors) naive::apply(naive::pauli(letter), {wire}, {}, image);
    sum += term.coefficient * naive::inner(state, image);
  }
  return sum.real();
}

// --- calls with vectors
// -----------------------------------------------------------------------------------------------

template <class Real>
std::vector<Real> cast(const std::vector<double>& values) {
  return {values.begin(), values.end()};
}

template <class Real>
std::vector<std::complex<Real>> states(const Simulator<Real>& simulator, int64_t batch,
                                       const std::vector<double>& weights, const std::vector<double>& inputs) {
  const auto w = cast<Real>(weights), x = cast<Real>(inputs);
  std::vector<std::complex<Real>> result(size_t(batch) << simulator.wires());
  simulator.states(batch, w.data(), x.data(), result.data());
  return result;
}

template <class Real>
std::vector<Real> expectations(const Simulator<Real>& simulator, int64_t batch, const std::vector<double>& weights,
                               const std::vector<double>& inputs) {
  const auto w = cast<Real>(weights), x = cast<Real>(inputs);
  std::vector<Real> result(batch * simulator.outputs(), Real(NAN));
  simulator.expectations(batch, w.data(), x.data(), result.data());
  return result;
}

template <class Real>
struct Gradient {
  std::vector<Real> values, dweights, dinputs;
  friend bool operator==(const Gradient&, const Gradient&) = default;
};

template <class Real>
Gradient<Real> gradient(const Simulator<Real>& simulator, int64_t batch, const std::vector<double>& weights,
                        const std::vector<double>& inputs, const std::vector<double>& upstream) {
  const auto w = cast<Real>(weights), x = cast<Real>(inputs), u = cast<Real>(upstream);
  Gradient<Real> g{std::vector<Real>(batch * simulator.outputs(), Real(NAN)),
                   std::vector<Real>(simulator.weights(), Real(NAN)),
                   std::vector<Real>(batch * simulator.inputs(), Real(NAN))};
  simulator.vjp(batch, w.data(), x.data(), u.data(), g.dweights.data(), g.dinputs.data(), g.values.data());
  return g;
}

template <class Real>
double distance(const std::vector<std::complex<Real>>& a, const State& b) {
  return naive::distance(State(a.begin(), a.end()), b);
}

template <class T>
std::vector<T> part(const std::vector<T>& all, size_t index, size_t size) {
  return {all.begin() + index * size, all.begin() + (index + 1) * size};
}

// --- (a) every gate
// ---------------------------------------------------------------------------------------------------

// All ways to choose `count` of n wires in order.
void each_order(int n, int count, const std::function<void(const std::vector<int>&)>& visit) {
  std::vector<int> chosen;
  const std::function<void()> next = [&] {
    if (int(chosen.size()) == count) return visit(chosen);
    for (int q = 0; q < n; ++q) {
      if (std::ranges::count(chosen, q)) continue;
      chosen.push_back(q);
      next();
      chosen.pop_back();
    }
  };
  next();
}

template <class Real>
void check_gate_everywhere(GateKind kind) {
  constexpr int64_t kBatch = 2;
  const GateInfo& info = gate_info(kind);
  Random random(100 + int(kind));
  int trial = 0;
  const std::vector<int> sizes = info.wires > 0 ? std::vector{info.wires} : std::vector{1, 2, 3};
  for (int n = 1; n <= 5; ++n) {
    for (const int own : sizes) {
      for (int controls = 0; controls <= 2 && own + controls <= n; ++controls) {
        each_order(n, own + controls, [&](const std::vector<int>& order) {
          Operation operation{kind, {}, {}, {order.begin() + own, order.end()}, {}};
          operation.wires.assign(order.begin(), order.begin() + own);
          if (kind == GateKind::Unitary)
            operation.matrix = std::make_shared<const Matrix>(naive::random_unitary(1 << own, random));
          if (kind == GateKind::PauliRotation) {
            std::vector<std::pair<int, char>> factors;
            for (const int q : operation.wires) factors.emplace_back(q, "XYZ"[random.below(3)]);
            operation.pauli = PauliString(factors);
            operation.wires.clear();
          }
          // Angles that are constants, weights, and inputs take different ways through the simulator, and so do states
          // that were prepared by rotations and such that were not.
          const int way = trial++ % 4;
          Circuit circuit(n);
          if (way == 3) circuit.amplitude_encoding();
          for (int q = 0; q < n && way < 3; ++q) circuit.ry(q, random.uniform(-3, 3)).rz(q, random.uniform(-3, 3));
          for (int k = 0; k < info.angles; ++k)
            operation.angles.push_back(way == 0   ? Angle(random.uniform(-7, 7))
                                       : way == 1 ? 2 * weight()
                                                  : 2 * input(k));
          circuit.add(operation);
          const auto weights = random_values(circuit.weights(), random);
          const auto inputs = random_values(kBatch * circuit.inputs(), random);
          const Simulator<Real> simulator(circuit);
          const auto result = states(simulator, kBatch, weights, inputs);
          for (int64_t b = 0; b < kBatch; ++b) {
            const State expected = reference_state(circuit, weights.data(), inputs.data() + b * circuit.inputs());
            ASSERT_LT(distance(part(result, b, expected.size()), expected), kTolerance<Real>)
                << info.name << " with " << controls << " controls on " << testing::PrintToString(order) << " of " << n
                << " wires, way " << way;
          }
        });
      }
    }
  }
}

class EveryGate : public testing::TestWithParam<GateKind> {};

TEST_P(EveryGate, OnAllWireOrdersDouble) {
  check_gate_everywhere<double>(GetParam());
}
TEST_P(EveryGate, OnAllWireOrdersFloat) {
  check_gate_everywhere<float>(GetParam());
}

std::vector<GateKind> gates_with_a_matrix() {
  std::vector<GateKind> kinds;
  for (const GateInfo& info : gate_table())
    if (is_unitary(info.kind)) kinds.push_back(info.kind);
  return kinds;
}

INSTANTIATE_TEST_SUITE_P(Table, EveryGate, testing::ValuesIn(gates_with_a_matrix()),
                         [](const auto& p) { return std::string(gate_info(p.param).name); });

TEST(Simulator, PauliRotationOfTheIdentityIsAPhase) {
  Circuit circuit(3);
  circuit.h(0).h(1).pauli_rotation({}, 0.7).add(Operation{GateKind::PauliRotation, {}, {weight()}, {1, 0}, {}});
  const double angle = 1.9;
  EXPECT_LT(distance(states(Simulator<double>(circuit), 1, {angle}, {}), reference_state(circuit, &angle, nullptr)),
            1e-14);
}

TEST(Simulator, ScalesAnglesWithAnAddedWeight) {
  // P(a) is e^{i a/2} RZ(a); an Angle cannot be halved if it adds a weight.
  const Angle angle = weight() * input(0) + weight() + 0.4;
  Circuit circuit(3);
  circuit.h(0).h(1).h(2).p(0, angle).cp(0, 1, angle).u(2, angle, angle, angle).cu(1, 2, angle, angle, angle, angle);
  circuit.add(GateKind::P, {1}, {angle}, {0, 2}).add(Operation{GateKind::PauliRotation, {}, {angle}, {1}, {}});
  Random random(20);
  const auto weights = random_values(circuit.weights(), random), inputs = random_values(1, random);
  EXPECT_LT(distance(states(Simulator<double>(circuit), 1, weights, inputs),
                     reference_state(circuit, weights.data(), inputs.data())),
            1e-14);
}

TEST(Simulator, ControlsADenseUnitaryManyTimes) {
  // The controls must not enlarge the matrix: 2^14 x 2^14 elements would be 4 GiB.
  for (const int n : {12, 14, 15}) {
    Random random(21);
    Circuit circuit(n);
    for (int q = 0; q < n; ++q) circuit.ry(q, 2.4);
    circuit.cnot_ring();
    Operation operation{GateKind::Unitary, {4, 0}, {}, {}, {}};
    operation.matrix = std::make_shared<const Matrix>(naive::random_unitary(4, random));
    for (int q = n - 1; q > 0; --q)
      if (q != 4) operation.controls.push_back(q);
    circuit.add(operation).x(3).y(n - 1).add(GateKind::ISWAP, {3, 1}, {}, {n - 1, 2, 0});
    EXPECT_LT(distance(states(Simulator<double>(circuit), 1, {}, {}), reference_state(circuit, nullptr, nullptr)),
              1e-13);
  }
}

// --- states and values of whole circuits
// -------------------------------------------------------------------------------

template <class Real>
void check_random_circuits() {
  Random random(1);
  for (int trial = 0; trial < 100; ++trial) {
    const int n = 1 + trial % 7;
    Circuit circuit(n);
    if (trial % 5 == 4) circuit.amplitude_encoding();
    const int gates = int(random.below(40));
    for (int k = 0; k < gates; ++k) naive::add_random_operation(circuit, random);
    std::vector<PauliSum> observables;
    for (uint64_t k = 1 + random.below(6); k > 0; --k)
      observables.push_back(random_observable(n, int(random.below(5)), random));
    const int64_t batch = 1 + int64_t(random.below(3));
    const auto weights = random_values(circuit.weights(), random);
    const auto inputs = random_values(batch * circuit.inputs(), random);

    const Simulator<Real> simulator(circuit, observables);
    EXPECT_EQ(simulator.wires(), n);
    EXPECT_EQ(simulator.weights(), circuit.weights());
    EXPECT_EQ(simulator.inputs(), circuit.inputs());
    ASSERT_EQ(simulator.outputs(), int(observables.size()));
    const auto amplitudes = states(simulator, batch, weights, inputs);
    const auto values = expectations(simulator, batch, weights, inputs);
    for (int64_t b = 0; b < batch; ++b) {
      const State expected = reference_state(circuit, weights.data(), inputs.data() + b * circuit.inputs());
      ASSERT_LT(distance(part(amplitudes, b, expected.size()), expected), 2 * kTolerance<Real>)
          << "trial " << trial << ", the global phase included";
      for (size_t k = 0; k < observables.size(); ++k)
        ASSERT_NEAR(values[b * observables.size() + k], reference_expectation(observables[k], expected),
                    20 * kTolerance<Real>)
            << "trial " << trial << ": " << observables[k].to_string();
    }
  }
}

TEST(Simulator, RandomCircuitsDouble) {
  check_random_circuits<double>();
}
TEST(Simulator, RandomCircuitsFloat) {
  check_random_circuits<float>();
}

// (e)
template <class Real>
void check_large_circuit(int n, int gates, bool encode) {
  Random random(n + (encode ? 100 : 0));
  Circuit circuit(n);
  if (encode) circuit.amplitude_encoding();
  for (int q = 0; q < n; ++q) circuit.rot(q, weight(), input(q % 3), weight());
  circuit.cnot_ring();
  for (int k = 0; k < gates; ++k) naive::add_random_operation(circuit, random);
  std::vector<PauliSum> observables = each('Z', n);
  observables.push_back(random_observable(n, 3, random));
  observables.push_back(sum_of('Y', n));
  const int64_t batch = 2;
  const auto weights = random_values(circuit.weights(), random);
  const auto inputs = random_values(batch * circuit.inputs(), random);
  const Simulator<Real> simulator(circuit, observables);
  const auto amplitudes = states(simulator, batch, weights, inputs);
  const auto values = expectations(simulator, batch, weights, inputs);
  const auto probabilities = [&] {
    std::vector<Real> p(amplitudes.size());
    simulator.probabilities(batch, cast<Real>(weights).data(), cast<Real>(inputs).data(), p.data());
    return p;
  }();
  for (int64_t b = 0; b < batch; ++b) {
    const State expected = reference_state(circuit, weights.data(), inputs.data() + b * circuit.inputs());
    ASSERT_LT(distance(part(amplitudes, b, expected.size()), expected), 2 * kTolerance<Real>) << n << " wires";
    double worst = 0;
    for (size_t i = 0; i < expected.size(); ++i)
      worst = std::max(worst, std::abs(double(probabilities[b * expected.size() + i]) - std::norm(expected[i])));
    EXPECT_LT(worst, kTolerance<Real>);
    for (size_t k = 0; k < observables.size(); ++k)
      EXPECT_NEAR(values[b * observables.size() + k], reference_expectation(observables[k], expected),
                  20 * kTolerance<Real>);
  }
}

TEST(Simulator, LargeCircuitsDouble) {
  for (int n = 13; n <= 16; ++n) check_large_circuit<double>(n, 60 - 10 * (n - 13), n % 2);
}
TEST(Simulator, LargeCircuitsFloat) {
  for (int n = 13; n <= 16; ++n) check_large_circuit<float>(n, 60 - 10 * (n - 13), n % 2 == 0);
}

// --- (b) gradients
// ----------------------------------------------------------------------------------------------------

double weighted(const std::vector<PauliSum>& observables, const State& state, const double* upstream) {
  double sum = 0;
  for (size_t k = 0; k < observables.size(); ++k) sum += upstream[k] * reference_expectation(observables[k], state);
  return sum;
}

// Central differences of the oracle in every weight and every input of every sample.
void check_gradient(const Circuit& circuit, const std::vector<PauliSum>& observables, int64_t batch,
                    const std::vector<double>& weights, const std::vector<double>& inputs, Random& random,
                    double tolerance = 1e-7) {
  const auto upstream = random_values(batch * observables.size(), random, 1);
  const Simulator<double> simulator(circuit, observables);
  const auto g = gradient(simulator, batch, weights, inputs, upstream);
  const auto loss = [&](const std::vector<double>& w, const std::vector<double>& x, int64_t b) {
    return weighted(observables, reference_state(circuit, w.data(), x.data() + b * circuit.inputs()),
                    upstream.data() + b * observables.size());
  };
  const double h = 1e-5;
  for (int i = 0; i < circuit.weights(); ++i) {
    double expected = 0;
    auto up = weights, down = weights;
    up[i] += h;
    down[i] -= h;
    for (int64_t b = 0; b < batch; ++b) expected += (loss(up, inputs, b) - loss(down, inputs, b)) / (up[i] - down[i]);
    ASSERT_NEAR(g.dweights[i], expected, tolerance * (1 + std::abs(expected))) << "weight " << i;
  }
  for (size_t j = 0; j < inputs.size(); ++j) {
    auto up = inputs, down = inputs;
    up[j] += h;
    down[j] -= h;
    const int64_t b = int64_t(j) / circuit.inputs();
    const double expected = (loss(weights, up, b) - loss(weights, down, b)) / (up[j] - down[j]);
    ASSERT_NEAR(g.dinputs[j], expected, tolerance * (1 + std::abs(expected))) << "input " << j;
  }
  const auto values = expectations(simulator, batch, weights, inputs);
  for (size_t k = 0; k < values.size(); ++k) EXPECT_NEAR(g.values[k], values[k], 1e-13);

  // Single precision, and with only one of the two wanted.
  const Simulator<float> single(circuit, observables);
  const auto f = gradient(single, batch, weights, inputs, upstream);
  const auto near = [](const auto& a, const auto& b) {
    for (size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], 2e-4 * (1 + std::abs(b[i])));
  };
  near(f.dweights, g.dweights);
  near(f.dinputs, g.dinputs);
  const auto w = cast<double>(weights), x = cast<double>(inputs);
  std::vector<double> dweights(circuit.weights(), NAN), dinputs(inputs.size(), NAN);
  simulator.vjp(batch, w.data(), x.data(), upstream.data(), dweights.data(), nullptr);
  simulator.vjp(batch, w.data(), x.data(), upstream.data(), nullptr, dinputs.data());
  simulator.vjp(batch, w.data(), x.data(), upstream.data(), nullptr, nullptr);
  for (size_t i = 0; i < dweights.size(); ++i)
    EXPECT_NEAR(dweights[i], g.dweights[i], 1e-12 * (1 + std::abs(dweights[i])));
  for (size_t i = 0; i < dinputs.size(); ++i) EXPECT_NEAR(dinputs[i], g.dinputs[i], 1e-12 * (1 + std::abs(dinputs[i])));
}

void check_random_gradients(int trials) {
  Random random(3);
  for (int trial = 0; trial < trials; ++trial) {
    SCOPED_TRACE(testing::Message() << "trial " << trial);
    const int n = 1 + trial % 6;
    Circuit circuit(n);
    if (trial % 8 == 7 && n <= 4) circuit.amplitude_encoding();
    const int gates = 2 + int(random.below(14));
    for (int k = 0; k < gates; ++k) naive::add_random_operation(circuit, random);
    std::vector<PauliSum> observables;
    for (uint64_t k = 1 + random.below(6); k > 0; --k)
      observables.push_back(random_observable(n, 1 + int(random.below(4)), random));
    const int64_t batch = 1 + trial % 2;
    const auto weights = random_values(circuit.weights(), random);
    const auto inputs = random_values(batch * circuit.inputs(), random, 2);
    check_gradient(circuit, observables, batch, weights, inputs, random);
    if (testing::Test::HasFatalFailure()) return;
  }
}

TEST(Gradient, RandomCircuitsAgainstCentralDifferences) {
  check_random_gradients(200);
}

TEST(Gradient, EachGateWithWeightsAndWithInputs) {
  Random random(4);
  for (const GateInfo& info : gate_table()) {
    if (info.angles == 0) continue;
    for (const int controls : {0, 1, 2}) {
      for (const bool data : {false, true}) {
        SCOPED_TRACE(testing::Message() << info.name << ", " << controls << " controls, data " << data);
        Circuit circuit(4);
        for (int q = 0; q < 4; ++q) circuit.u(q, 0.3 + q, 1.1 - q, 0.2 * q);
        Operation operation{info.kind, {}, {}, {}, {}};
        for (int k = 0; k < info.angles; ++k) operation.angles.push_back(data ? input(k) : weight());
        const std::vector<int> order{2, 0, 3, 1};
        const int own = info.wires ? info.wires : 2;
        if (info.wires) operation.wires.assign(order.begin(), order.begin() + own);
        if (!info.wires) operation.pauli = PauliString({{2, 'X'}, {0, 'Y'}});
        operation.controls.assign(order.begin() + own, order.begin() + own + controls);
        circuit.add(operation);
        for (int q = 0; q < 4; ++q) circuit.u(q, 0.7 - q, 0.4 * q, 0.9);
        check_gradient(circuit, each('Z', 4), 1, random_values(circuit.weights(), random),
                       random_values(circuit.inputs(), random), random);
        if (testing::Test::HasFatalFailure()) return;
      }
    }
  }
}

// (g)
TEST(Gradient, AtSpecialAngles) {
  Random random(5);
  Circuit circuit(4);
  angle_encoding(circuit, 'Y');
  circuit.h(0).crx(0, 1, weight()).add(GateKind::RY, {3}, {weight()}, {0, 2});
  strongly_entangling(circuit, 2);
  circuit.u(1, weight(), weight(), weight()).cu(2, 3, weight(), weight(), weight(), weight());
  angle_encoding(circuit, 'X');
  hardware_efficient(circuit, 1);
  std::vector<PauliSum> observables = each('Y', 4);
  observables.push_back(X(0) * X(1) + Z(3));
  for (const double angle : {0.0, kPi, -kPi, 2 * kPi, kPi / 2, 4 * kPi, 1e-9}) {
    SCOPED_TRACE(angle);
    const std::vector<double> weights(circuit.weights(), angle), inputs(2 * circuit.inputs(), angle);
    check_gradient(circuit, observables, 2, weights, inputs, random);
    if (testing::Test::HasFatalFailure()) return;
  }
  // Both sides round the angle itself to 1e-12 here.
  const std::vector<double> weights(circuit.weights(), 1e4), inputs(2 * circuit.inputs(), -1e4);
  const Simulator<double> simulator(circuit, observables);
  const auto amplitudes = states(simulator, 1, weights, part(inputs, 0, circuit.inputs()));
  EXPECT_LT(distance(amplitudes, reference_state(circuit, weights.data(), inputs.data())), 1e-10);
  const std::vector<double> upstream(2 * observables.size(), 1.0);
  std::vector<double> small_weights(circuit.weights(), std::remainder(1e4, 4 * kPi)),
      small_inputs(2 * circuit.inputs(), std::remainder(-1e4, 4 * kPi));
  const auto large = gradient(simulator, 2, weights, inputs, upstream);
  const auto small = gradient(simulator, 2, small_weights, small_inputs, upstream);
  for (size_t i = 0; i < large.dweights.size(); ++i) EXPECT_NEAR(large.dweights[i], small.dweights[i], 1e-9);
  for (size_t j = 0; j < large.dinputs.size(); ++j) EXPECT_NEAR(large.dinputs[j], small.dinputs[j], 1e-9);
}

TEST(Gradient, FollowsTheParameterShiftRule) {
  Random random(6);
  for (int n = 1; n <= 8; ++n) {
    Circuit circuit(n);
    for (int q = 0; q < n; ++q) circuit.add(rotation_about("XYZ"[q % 3]), {q}, {input(q)});
    strongly_entangling(circuit, 2);
    for (int q = 0; q + 1 < n; ++q) circuit.rzz(q, q + 1, weight()).rxx(q + 1, q, weight());
    circuit.pauli_rotation(n > 2 ? PauliString({{0, 'X'}, {1, 'Y'}, {2, 'Z'}}) : PauliString({{0, 'Y'}}), weight());
    std::vector<PauliSum> observables = each('Y', n);
    observables.push_back(random_observable(n, 4, random));
    const Simulator<double> simulator(circuit, observables);
    const auto weights = random_values(circuit.weights(), random), inputs = random_values(circuit.inputs(), random);
    for (int k = 0; k < simulator.outputs(); ++k) {
      std::vector<double> upstream(simulator.outputs(), 0.0);
      upstream[k] = 1;
      const auto g = gradient(simulator, 1, weights, inputs, upstream);
      const auto shift = [&](std::vector<double> w, std::vector<double> x, int i, int j, double by) {
        if (i >= 0) w[i] += by;
        if (j >= 0) x[j] += by;
        return expectations(simulator, 1, w, x)[k];
      };
      for (int i = 0; i < circuit.weights(); ++i)
        ASSERT_NEAR(g.dweights[i],
                    (shift(weights, inputs, i, -1, kPi / 2) - shift(weights, inputs, i, -1, -kPi / 2)) / 2, 1e-12);
      for (int j = 0; j < circuit.inputs(); ++j)
        ASSERT_NEAR(g.dinputs[j],
                    (shift(weights, inputs, -1, j, kPi / 2) - shift(weights, inputs, -1, j, -kPi / 2)) / 2, 1e-12);
    }
  }
}

TEST(Gradient, OfAmplitudes) {
  Random random(7);
  for (int n = 1; n <= 5; ++n) {
    Circuit circuit(n);
    circuit.amplitude_encoding();
    hardware_efficient(circuit, 1);
    circuit.rx(0, input(0) * weight());  // a feature that is also an amplitude
    check_gradient(circuit, each('X', n), 2, random_values(circuit.weights(), random),
                   random_values(2 * circuit.inputs(), random), random);
  }
}

/// Every kind of operation on many qubits, judged by central differences of the definition.
template <class Real>
void check_large_gradient(int n, int gates, bool encode) {
  Random random(8 + n);
  Circuit circuit(n);
  if (encode) circuit.amplitude_encoding();
  for (int q = 0; q < n; ++q) circuit.rot(q, weight(), input(q % 3), weight());
  circuit.cnot_ring();
  for (int q = 0; q < n; ++q) circuit.rzz(q, (q + 3) % n, weight() * input(1));
  for (int k = 0; k < gates; ++k) naive::add_random_operation(circuit, random);
  hardware_efficient(circuit, 1);
  const std::vector<PauliSum> observables{sum_of('Z', n), random_observable(n, 2, random)};
  const Simulator<Real> simulator(circuit, observables);
  const auto weights = random_values(circuit.weights(), random), inputs = random_values(circuit.inputs(), random);
  const std::vector<double> upstream{0.7, -1.3};
  const auto g = gradient(simulator, 1, weights, inputs, upstream);
  const double h = 1e-4, tolerance = sizeof(Real) == 8 ? 1e-6 : 2e-4;
  const auto loss = [&](const std::vector<double>& w, const std::vector<double>& x) {
    const State state = reference_state(circuit, w.data(), x.data());
    return upstream[0] * reference_expectation(observables[0], state) +
           upstream[1] * reference_expectation(observables[1], state);
  };
  for (int trial = 0; trial < 6; ++trial) {
    auto up = weights, down = weights;
    const size_t i = random.below(weights.size());
    up[i] += h;
    down[i] -= h;
    EXPECT_NEAR(g.dweights[i], (loss(up, inputs) - loss(down, inputs)) / (2 * h), tolerance)
        << n << " wires, weight " << i;
    auto right = inputs, left = inputs;
    const size_t j = random.below(encode && trial % 2 ? inputs.size() : 3);
    right[j] += h;
    left[j] -= h;
    EXPECT_NEAR(g.dinputs[j], (loss(weights, right) - loss(weights, left)) / (2 * h), tolerance)
        << n << " wires, input " << j;
  }
}

TEST(Gradient, OfLargeCircuits) {
  check_large_gradient<double>(13, 12, false);
  check_large_gradient<double>(14, 40, false);
  check_large_gradient<double>(14, 12, true);
  check_large_gradient<float>(14, 12, false);
}

TEST(Simulator, FourierTransformOfABasisState) {
  for (const int n : {14, 17}) {
    const uint64_t number = 0x15a37 & ((uint64_t{1} << n) - 1), size = uint64_t{1} << n;
    Circuit circuit(n);
    for (int q = 0; q < n; ++q)
      if (number >> q & 1) circuit.x(q);
    for (int q = n; q-- > 0;) {
      circuit.h(q);
      for (int c = 0; c < q; ++c) circuit.cp(c, q, std::numbers::pi / double(1 << (q - c)));
    }
    for (int q = 0; q < n / 2; ++q) circuit.swap(q, n - 1 - q);
    const auto amplitudes = states(Simulator<float>(circuit), 1, {}, {});
    double worst = 0;
    for (uint64_t k = 0; k < size; ++k) {
      const double angle = 2 * std::numbers::pi * double(number * k % size) / double(size);
      worst = std::max(
          worst, std::abs(std::complex<double>(amplitudes[k]) * std::sqrt(double(size)) - std::polar(1.0, angle)));
    }
    EXPECT_LT(worst, 2e-5) << n;
  }
}

TEST(Storage, HalfAgreesWithFullPrecision) {
  for (const int n : {14, 17}) {
    Random random(n);
    Circuit circuit(n);
    angle_encoding(circuit, 'Y');
    hardware_efficient(circuit, 6);
    for (int q = 0; q + 2 < n; ++q) circuit.ccx(q, q + 1, q + 2).crz(q + 2, q, weight());
    const std::vector<PauliSum> observables{sum_of('Z', n), random_observable(n, 3, random), X(3) * Y(7)};
    const auto weights = random_values(circuit.weights(), random), inputs = random_values(2 * n, random);
    const Simulator<float> half(circuit, observables, Storage::Half);
    const Simulator<double> full(circuit, observables);
    const auto a = states(half, 2, weights, inputs);
    const auto b = states(full, 2, weights, inputs);
    for (int64_t sample = 0; sample < 2; ++sample) {
      std::complex<double> overlap = 0;
      double norm = 0;
      for (size_t i = sample << n; i < size_t(sample + 1) << n; ++i) {
        overlap += std::conj(std::complex<double>(a[i])) * b[i];
        norm += std::norm(std::complex<double>(a[i]));
      }
      EXPECT_GT(std::norm(overlap) / norm, 1 - 1e-6);
      EXPECT_NEAR(norm, 1, 1e-4);
    }
    const auto x = expectations(half, 2, weights, inputs);
    const auto y = expectations(full, 2, weights, inputs);
    for (size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(x[i], y[i], 2e-3);
    const auto w = cast<float>(weights), in = cast<float>(inputs);
    std::vector<float> probabilities(size_t{2} << n);
    half.probabilities(2, w.data(), in.data(), probabilities.data());
    for (size_t i = 0; i < probabilities.size(); i += 97) EXPECT_NEAR(probabilities[i], std::norm(a[i]), 1e-7);
    std::vector<uint64_t> samples(1000);
    half.samples(1, w.data(), in.data(), 1000, Random(1), samples.data());
    for (const uint64_t s : samples) EXPECT_GT(probabilities[s], 0);
  }
}

TEST(Storage, HalfRefusesWhatItCannotDo) {
  EXPECT_THAT([] { Simulator<double>(Circuit(15), {}, Storage::Half); },
              ThrowsMessage<Error>(HasSubstr("expected single precision")));
  EXPECT_THAT([] { Simulator<float>(Circuit(10), {}, Storage::Half); },
              ThrowsMessage<Error>(HasSubstr("14 qubits or more")));
  EXPECT_THAT(
      [] {
        Simulator<float>(Circuit(15).add(GateKind::X, {0}, {}, {1, 2, 3}), {}, Storage::Half);
      },
      ThrowsMessage<Error>(HasSubstr("more than two controls")));
  EXPECT_THAT([] { Simulator<float>(Circuit(15).amplitude_encoding(), {}, Storage::Half); },
              ThrowsMessage<Error>(HasSubstr("amplitude encoding")));
  EXPECT_THAT(
      [] {
        const float one = 1;
        Simulator<float>(Circuit(15), {Z(0)}, Storage::Half).vjp(1, nullptr, nullptr, &one, nullptr, nullptr);
      },
      ThrowsMessage<Error>(HasSubstr("no gradients")));
}

TEST(Gradient, OfManyQubitsInClosedForm) {
  // <Z_q> = cos(x_q) for RY(x_q); a ring of CNOTs multiplies neighbours up. Three rotations a wire, two CNOT rings
  // apart that cancel, leave products of cosines whatever the number of sweeps.
  for (const int n : {17, 20}) {
    Circuit circuit(n);
    for (int q = 0; q < n; ++q) circuit.ry(q, weight(q));
    for (int q = 0; q + 1 < n; ++q) circuit.cnot(q, q + 1);
    for (int q = 0; q < n; ++q) circuit.rz(q, weight(n + q));
    for (int q = n - 1; q-- > 0;) circuit.cnot(q, q + 1);
    for (int q = 0; q < n; ++q) circuit.rx(q, weight(2 * n + q));
    Random random(n);
    auto weights = random_values(circuit.weights(), random);
    // Without the phases in between, <Z_q> = cos(w_q) cos(w_2n+q).
    std::fill(weights.begin() + n, weights.begin() + 2 * n, 0.0);
    const Simulator<float> simulator(circuit, each('Z', n));
    std::vector<double> upstream(size_t(n), 1.0);
    const auto g = gradient(simulator, 1, weights, {}, upstream);
    for (int q = 0; q < n; ++q) {
      EXPECT_NEAR(g.values[q], std::cos(weights[q]) * std::cos(weights[2 * n + q]), 1e-5);
      EXPECT_NEAR(g.dweights[q], -std::sin(weights[q]) * std::cos(weights[2 * n + q]), 1e-5);
      EXPECT_NEAR(g.dweights[2 * n + q], -std::cos(weights[q]) * std::sin(weights[2 * n + q]), 1e-5);
    }
  }
}

// --- (c) the same bits
// ------------------------------------------------------------------------------------------------

Circuit mixed_circuit(int n) {
  Random random(9 + n);
  Circuit circuit(n);
  angle_encoding(circuit, 'Y');
  hardware_efficient(circuit, 1);
  for (int k = 0; k < 10; ++k) naive::add_random_operation(circuit, random);
  angle_encoding(circuit, 'X');
  strongly_entangling(circuit, 1);
  return circuit;
}

template <class Real>
void check_batches(int n, const std::vector<PauliSum>& observables, int largest) {
  Random random(10);
  const Circuit circuit = mixed_circuit(n);
  const Simulator<Real> simulator(circuit, observables);
  const auto weights = random_values(circuit.weights(), random);
  const auto inputs = random_values(largest * circuit.inputs(), random);
  const auto upstream = random_values(largest * observables.size(), random);
  const size_t x = circuit.inputs(), k = observables.size(), size = size_t{1} << n;

  std::vector<Real> values, dinputs;
  std::vector<std::complex<Real>> amplitudes;
  for (int b = 0; b < largest; ++b) {
    const auto g = gradient(simulator, 1, weights, part(inputs, b, x), part(upstream, b, k));
    EXPECT_EQ(expectations(simulator, 1, weights, part(inputs, b, x)), g.values);
    values.insert(values.end(), g.values.begin(), g.values.end());
    dinputs.insert(dinputs.end(), g.dinputs.begin(), g.dinputs.end());
    const auto state = states(simulator, 1, weights, part(inputs, b, x));
    amplitudes.insert(amplitudes.end(), state.begin(), state.end());
  }
  for (int batch = 1; batch <= largest; ++batch) {
    const auto g = gradient(simulator, batch, weights, part(inputs, 0, batch * x), part(upstream, 0, batch * k));
    ASSERT_EQ(g.values, part(values, 0, batch * k)) << "batch " << batch << " on " << n << " wires";
    ASSERT_EQ(g.dinputs, part(dinputs, 0, batch * x)) << "batch " << batch << " on " << n << " wires";
    ASSERT_EQ(expectations(simulator, batch, weights, part(inputs, 0, batch * x)), part(values, 0, batch * k));
    ASSERT_EQ(states(simulator, batch, weights, part(inputs, 0, batch * x)), part(amplitudes, 0, batch * size));
  }
}

TEST(Batch, EqualsItsSamplesBitForBit) {
  for (const int n : {1, 2, 3, 5, 8}) {
    check_batches<float>(n, each('Z', n), 40);
    check_batches<double>(n, each('Z', n), 40);
    check_batches<float>(n, {sum_of('X', n), Y(0) + Z(n - 1)}, 40);
    check_batches<double>(n, {sum_of('X', n), Y(0) + Z(n - 1)}, 40);
  }
  check_batches<float>(13, {sum_of('Z', 13)}, 3);
}

struct ThreadsRestored {
  int before = threads();
  ~ThreadsRestored() { set_threads(before); }
};

template <class Real>
void check_threads(int n, int64_t batch) {
  Random random(11);
  const Circuit circuit = mixed_circuit(n);
  std::vector<PauliSum> observables = each('Z', n);
  observables.push_back(X(0) * 0.3 + Y(n - 1));
  const auto weights = random_values(circuit.weights(), random);
  const auto inputs = random_values(batch * circuit.inputs(), random);
  const auto upstream = random_values(batch * observables.size(), random);
  const ThreadsRestored restored;
  set_threads(1);
  const Simulator<Real> one(circuit, observables);
  const auto expected = gradient(one, batch, weights, inputs, upstream);
  const auto amplitudes = states(one, batch, weights, inputs);
  const auto values = expectations(one, batch, weights, inputs);
  for (const int count : {2, 3}) {
    set_threads(count);
    const Simulator<Real> fresh(circuit, observables);
    for (const Simulator<Real>* simulator : {&one, &fresh}) {
      ASSERT_EQ(gradient(*simulator, batch, weights, inputs, upstream), expected) << n << " wires, batch " << batch;
      ASSERT_EQ(states(*simulator, batch, weights, inputs), amplitudes) << n << " wires, batch " << batch;
      ASSERT_EQ(expectations(*simulator, batch, weights, inputs), values) << n << " wires, batch " << batch;
    }
  }
}

TEST(Threads, DoNotChangeABit) {
  for (const int64_t batch : {1, 2, 17, 64, 1000}) {
    check_threads<float>(4, batch);
    check_threads<double>(4, batch);
  }
  check_threads<float>(9, 100);
  check_threads<double>(9, 100);
  check_threads<float>(14, 2);
  check_threads<double>(14, 1);
}

TEST(Threads, MayCallTheSameSimulator) {
  Random random(12);
  const Circuit circuit = mixed_circuit(5);
  const Simulator<float> simulator(circuit, each('Z', 5));
  const auto weights = random_values(circuit.weights(), random);
  const auto inputs = random_values(20 * circuit.inputs(), random);
  const std::vector<double> upstream(20 * 5, 0.5);
  const auto expected = gradient(Simulator<float>(circuit, each('Z', 5)), 20, weights, inputs, upstream);
  std::vector<char> equal(4, 1);
  std::vector<std::thread> callers;
  for (char& ok : equal)
    callers.emplace_back([&] {
      for (int k = 0; k < 20; ++k) ok = ok && gradient(simulator, 20, weights, inputs, upstream) == expected;
    });
  for (std::thread& caller : callers) caller.join();
  EXPECT_THAT(equal, testing::Each(1));
}

// --- instruction sets
// -------------------------------------------------------------------------------------------------

// The kernels are chosen once in a process, so each set but the machine's best needs a process of its own.
void check_without(int64_t targets, size_t most_lanes) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        hwy::DisableTargets(targets);
        EXPECT_LE(simulate::kernels<float>().lanes, most_lanes);
        check_random_circuits<float>();
        check_random_circuits<double>();
        check_large_circuit<float>(14, 20, false);
        check_large_circuit<double>(14, 20, true);
        check_random_gradients(40);
        check_batches<float>(4, {sum_of('Z', 4), Y(0) + X(3)}, 20);
        std::exit(testing::Test::HasFailure());
      },
      testing::ExitedWithCode(0), "");
}

#if HWY_ARCH_X86
// A lower bit is a better set.
TEST(InstructionSet, Avx2) {
  if (!(hwy::SupportedTargets() & HWY_AVX2)) GTEST_SKIP() << "this processor lacks it";
  check_without(HWY_AVX2 - 1, 8);
}
TEST(InstructionSet, Baseline) {
  check_without(2 * HWY_AVX2 - 1, 4);
}
#endif

// --- (d) probabilities and samples
// ------------------------------------------------------------------------------------

template <class Real>
void check_probabilities() {
  Random random(13);
  for (const int n : {1, 3, 6, 14}) {
    const Circuit circuit = mixed_circuit(n);
    const auto weights = random_values(circuit.weights(), random);
    const int64_t batch = 3;
    const auto inputs = random_values(batch * circuit.inputs(), random);
    const auto w = cast<Real>(weights), x = cast<Real>(inputs);
    const Simulator<Real> simulator(circuit);
    const auto amplitudes = states(simulator, batch, weights, inputs);
    std::vector<Real> probabilities(amplitudes.size(), Real(NAN));
    simulator.probabilities(batch, w.data(), x.data(), probabilities.data());
    for (int64_t b = 0; b < batch; ++b) {
      double sum = 0;
      for (size_t i = 0; i < size_t{1} << n; ++i) {
        const size_t at = (size_t(b) << n) + i;
        ASSERT_NEAR(probabilities[at], std::norm(amplitudes[at]), 1e-6);
        sum += double(probabilities[at]);
      }
      EXPECT_NEAR(sum, 1, kTolerance<Real>);
    }
  }
}

TEST(Probabilities, SumToOneDouble) {
  check_probabilities<double>();
}
TEST(Probabilities, SumToOneFloat) {
  check_probabilities<float>();
}

template <class Real>
void check_samples(int n, int64_t shots) {
  const Circuit circuit = mixed_circuit(n);
  Random random(14);
  const auto weights = random_values(circuit.weights(), random);
  const int64_t batch = 2;
  const auto inputs = random_values(batch * circuit.inputs(), random);
  const auto w = cast<Real>(weights), x = cast<Real>(inputs);
  const Simulator<Real> simulator(circuit);
  std::vector<uint64_t> samples(batch * shots, UINT64_MAX);
  simulator.samples(batch, w.data(), x.data(), shots, Random(15), samples.data());
  for (int64_t b = 0; b < batch; ++b) {
    const State state = reference_state(circuit, weights.data(), inputs.data() + b * circuit.inputs());
    // The lowest four bits' distribution: cells of enough counts.
    const size_t cells = std::min<size_t>(16, state.size());
    std::vector<double> expected(cells, 0), counts(cells, 0);
    for (size_t i = 0; i < state.size(); ++i) expected[i % cells] += std::norm(state[i]) * double(shots);
    for (int64_t s = 0; s < shots; ++s) {
      ASSERT_LT(samples[b * shots + s], state.size());
      counts[samples[b * shots + s] % cells] += 1;
    }
    double chi2 = 0;
    for (size_t i = 0; i < cells; ++i)
      if (expected[i] > 1e-6) chi2 += (counts[i] - expected[i]) * (counts[i] - expected[i]) / expected[i];
    EXPECT_LT(chi2, 37.7) << "the 99.9 % point for 15 degrees of freedom";
  }
  EXPECT_NE(part(samples, 0, shots), part(samples, 1, shots));
  std::vector<uint64_t> again(shots);
  simulator.samples(1, w.data(), x.data(), shots, Random(15), again.data());
  EXPECT_EQ(again, part(samples, 0, shots)) << "a sample's stream does not depend on the batch";
  simulator.samples(1, w.data(), x.data(), shots, Random(16), again.data());
  EXPECT_NE(again, part(samples, 0, shots));
}

TEST(Samples, PassAChiSquareTest) {
  check_samples<float>(1, 10000);
  check_samples<float>(4, 10000);
  check_samples<double>(4, 10000);
  check_samples<double>(7, 10000);
  check_samples<float>(14, 10000);
}

TEST(Samples, NeverHitTheImpossible) {
  for (const int n : {3, 14}) {
    Circuit circuit(n);
    circuit.h(0).cx(0, n - 1).x(1);
    const Simulator<float> simulator(circuit);
    std::vector<uint64_t> samples(2000);
    simulator.samples(1, nullptr, nullptr, 2000, Random(17), samples.data());
    const uint64_t low = 2, high = 2 | 1 | uint64_t{1} << (n - 1);
    for (const uint64_t sample : samples) ASSERT_TRUE(sample == low || sample == high) << sample;
    EXPECT_NEAR(double(std::ranges::count(samples, low)), 1000, 120);
  }
}

// --- (f) exact values of specification 02
// -----------------------------------------------------------------------------

// RX embedding, then layers of RZ RY RZ on each qubit and a ring of CNOTs.
Circuit dense_block(int n, int depth) {
  Circuit circuit(n);
  angle_encoding(circuit, 'X');
  for (int layer = 0; layer < depth; ++layer) {
    for (int q = 0; q < n; ++q) circuit.rot(q, weight(), weight(), weight());
    circuit.cnot_ring();
  }
  return circuit;
}

// RX(pi p), then layers of RX and a ring of CNOTs.
Circuit quanvolution(int layers) {
  Circuit circuit(4);
  angle_encoding(circuit, 'X', {}, 0, kPi);
  basic_entangler(circuit, layers, 'X');
  return circuit;
}

template <class Real>
void check_values(const Circuit& circuit, char pauli, const std::vector<double>& weights,
                  const std::vector<double>& inputs, const std::vector<double>& expected) {
  const Simulator<Real> simulator(circuit, each(pauli, circuit.wires()));
  const auto values = expectations(simulator, 1, weights, inputs);
  for (size_t k = 0; k < expected.size(); ++k)
    EXPECT_NEAR(values[k], expected[k], (std::is_same_v<Real, double> ? 1e-10 : 1e-6));
}

template <class Real>
void check_specification() {
  for (const double x : {0.0, 0.3, -2.0, kPi})
    check_values<Real>(dense_block(1, 0), 'Y', {}, {x}, {-std::sin(x)});  // U1
  check_values<Real>(dense_block(3, 1), 'Y', {.1, .2, .3, .2, .4, .6, .3, .6, .9}, {.3, .7, 1.1},
                     {-0.0191170258, -0.2561147598, 0.0098067934});  // U2
  std::vector<double> x, w;
  for (int q = 0; q < 5; ++q) x.push_back(.2 * (q + 1));
  for (int l = 0; l < 3; ++l)
    for (int q = 0; q < 5; ++q)
      for (int k = 0; k < 3; ++k) w.push_back(.1 * (1 + l) + .05 * q + .02 * k);
  check_values<Real>(dense_block(5, 3), 'Y', w, x,
                     {0.1266567818, -0.0270953950, 0.0805979614, -0.0308038498, 0.0465230144});             // U3
  check_values<Real>(dense_block(5, 1), 'Y', std::vector<double>(15, 0.0), x, {0, 0, 0, 0, 0.0374340622});  // U4
  const std::vector<double> patch{.1, .4, .7, .9};
  check_values<Real>(quanvolution(0), 'Z', {}, patch, {.9510565163, .3090169944, -.5877852523, -.9510565163});  // U5
  check_values<Real>(quanvolution(1), 'Z', std::vector<double>(4, 0.0), patch,
                     {0.1727457514, 0.2938926261, -0.1727457514, 0.1642909725});
  std::vector<double> angles;
  for (int l = 0; l < 4; ++l)
    for (int q = 0; q < 4; ++q) angles.push_back(.1 * (l + 1) * (q + 1));
  check_values<Real>(quanvolution(4), 'Z', angles, patch, {0.2003013014, 0.0115243856, -0.6004892396, 0.2064721893});
}

TEST(Specification02, ExactValuesDouble) {
  check_specification<double>();
}
TEST(Specification02, ExactValuesFloat) {
  check_specification<float>();
}

// --- (h) edges
// --------------------------------------------------------------------------------------------------------

TEST(Edge, NothingToDo) {
  const Circuit empty(1);
  EXPECT_EQ(states(Simulator<double>(empty), 1, {}, {}), (std::vector<std::complex<double>>{1, 0}));
  for (const int n : {1, 2, 5, 14}) {
    const Simulator<float> simulator(Circuit(n), {Z(0), X(n - 1), PauliSum(2.5), PauliSum(), Z(0) * 3 - 1});
    EXPECT_EQ(simulator.weights(), 0);
    EXPECT_EQ(simulator.inputs(), 0);
    std::vector<float> values(10);
    simulator.expectations(2, nullptr, nullptr, values.data());
    EXPECT_THAT(values,
                testing::Pointwise(testing::FloatNear(1e-6), std::vector<float>{1, 0, 2.5, 0, 2, 1, 0, 2.5, 0, 2}));
    const std::vector<float> upstream(10, 1);
    simulator.vjp(2, nullptr, nullptr, upstream.data(), nullptr, nullptr, values.data());
    EXPECT_FLOAT_EQ(values[4], 2);
    simulator.expectations(0, nullptr, nullptr, nullptr);
    simulator.vjp(0, nullptr, nullptr, nullptr, nullptr, nullptr);
  }
}

TEST(Edge, EmptyBatchHasZeroGradient) {
  Circuit circuit(2);
  hardware_efficient(circuit, 1);
  const Simulator<double> simulator(circuit, each('Z', 2));
  const std::vector<double> weights(6, 0.3);
  std::vector<double> dweights(6, NAN);
  simulator.vjp(0, weights.data(), nullptr, nullptr, dweights.data(), nullptr);
  EXPECT_THAT(dweights, testing::Each(0));
}

TEST(Edge, NoObservables) {
  Circuit circuit(2);
  circuit.ry(0, weight()).ry(1, input(0));
  const Simulator<double> simulator(circuit);
  EXPECT_EQ(simulator.outputs(), 0);
  const auto g = gradient(simulator, 3, {0.3}, {1, 2, 3}, {});
  EXPECT_THAT(g.dweights, testing::Each(0));
  EXPECT_THAT(g.dinputs, testing::Each(0));
}

TEST(Edge, UnusedWeightsAndInputsHaveZeroGradient) {
  Circuit circuit(2);
  circuit.ry(0, weight(3) * input(4));
  const Simulator<float> simulator(circuit, {Z(0)});
  EXPECT_EQ(simulator.weights(), 4);
  EXPECT_EQ(simulator.inputs(), 5);
  const auto g = gradient(simulator, 1, {9, 9, 9, 0.5}, {9, 9, 9, 9, 0.8}, {2});
  const float slope = float(-2 * std::sin(0.4));
  EXPECT_THAT(g.dweights, testing::Pointwise(testing::FloatNear(1e-6), std::vector<float>{0, 0, 0, 0.8f * slope}));
  EXPECT_THAT(g.dinputs, testing::Pointwise(testing::FloatNear(1e-6), std::vector<float>{0, 0, 0, 0, 0.5f * slope}));
}

TEST(Edge, OneWire) {
  Circuit circuit(1);
  circuit.ry(0, input(0)).rz(0, weight()).ry(0, weight() * input(0) + weight());
  Random random(18);
  check_gradient(circuit, {X(0), Y(0), Z(0), X(0) + 0.5 * Z(0) - 1}, 3, {0.4, -0.9, 1.3}, {0.2, 1.5, -2.5}, random);
}

TEST(Edge, Moves) {
  Circuit circuit(1);
  circuit.rx(0, 0.5);
  Simulator<double> a(circuit, {Z(0)});
  Simulator<double> b = std::move(a);
  a = Simulator<double>(Circuit(2), each('Z', 2));
  EXPECT_NEAR(expectations(b, 1, {}, {})[0], std::cos(0.5), 1e-15);
  EXPECT_EQ(expectations(a, 1, {}, {}), (std::vector<double>{1, 1}));
}

TEST(Edge, Errors) {
  EXPECT_THAT(
      [] {
        Simulator<float>(Circuit(3), {Z(1), X(3)});
      },
      ThrowsMessage<Error>(HasSubstr("wire 3 is out of range")));
  EXPECT_THAT([] { Simulator<double>(Circuit(60)); }, ThrowsMessage<Error>(HasSubstr("60 qubits")));
  for (const int n : {2, 14}) {
    const Simulator<float> simulator(Circuit(n).ry(0, weight()), {Z(0)});
    EXPECT_THROW(simulator.expectations(-1, nullptr, nullptr, nullptr), Error);
    EXPECT_THROW(simulator.vjp(-1, nullptr, nullptr, nullptr, nullptr, nullptr), Error);
    EXPECT_THROW(simulator.samples(1, nullptr, nullptr, -1, Random(1), nullptr), Error);
    EXPECT_THROW(simulator.samples(-1, nullptr, nullptr, 1, Random(1), nullptr), Error);
    uint64_t sample = 0;
    const float not_finite = NAN;
    EXPECT_THAT([&] { simulator.samples(1, &not_finite, nullptr, 1, Random(1), &sample); },
                ThrowsMessage<Error>(HasSubstr("the probabilities sum to")));
    // At construction, not when it is first run.
    EXPECT_THAT([&] { Simulator<float>(Circuit(n).channel(bit_flip(0.1), {0})); },
                ThrowsMessage<Error>(HasSubstr("got a Channel; take the density matrix or trajectories")));
  }
}

// Timestamps as features, or a training that has diverged: the reduction by pi/2 of the fast sine ends, not the circle.
TEST(Edge, LargeAnglesStayAngles) {
  for (const int n : {1, 14})
    for (const double size : {1e6, 1e7, 1e9, 1e15, 1e30}) {
      const auto value = [&]<class Real>(Real angle) {
        Real values[2];
        Simulator<Real>(Circuit(n).ry(0, weight()), {Z(0)}).expectations(1, &angle, nullptr, &values[0]);
        Simulator<Real>(Circuit(n).ry(0, input(0)), {Z(0)}).expectations(1, nullptr, &angle, &values[1]);
        EXPECT_NEAR(values[0], std::cos(double(angle)), sizeof(Real) == 4 ? 1e-5 : 1e-12) << n << " " << size;
        EXPECT_NEAR(values[1], std::cos(double(angle)), sizeof(Real) == 4 ? 1e-5 : 1e-12) << n << " " << size;
      };
      value(float(size));
      value(double(size));
    }
}

}  // namespace
}  // namespace quanta
