#include "quanta/simulate/trajectories.h"

#include <gmock/gmock.h>

#include <cmath>
#include <numbers>
#include <type_traits>

#include "quanta/circuit/noise.h"
#include "quanta/circuit/random_circuit.h"
#include "quanta/core/error.h"
#include "quanta/core/parallel.h"
#include "quanta/simulate/brute_force.h"

// The oracle is the density matrix, evolved by its definition for every value of the classical bits (brute_force.h).

namespace quanta {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

constexpr uint64_t kSeeds[] = {1, 2, 3};

/// Every value within four of its standard errors, for three seeds.
template <class Real>
void check_expectations(const Circuit& circuit, const std::vector<PauliSum>& observables, int64_t count,
                        const char* what) {
  Random random(10);
  const auto weights = naive::random_values(size_t(circuit.weights()), random);
  const auto inputs = naive::random_values(size_t(2 * circuit.inputs()), random);
  const std::vector<Real> w(weights.begin(), weights.end()), x(inputs.begin(), inputs.end());
  const Trajectories<Real> trajectories(circuit, observables, {.trajectories = count});
  const size_t K = observables.size();
  for (const uint64_t seed : kSeeds) {
    std::vector<Real> values(2 * K), errors(2 * K);
    trajectories.expectations(2, w.data(), x.data(), Random(seed), values.data(), errors.data());
    for (size_t b = 0; b < 2; ++b) {
      const auto exact = naive::run(circuit, weights.data(), inputs.data() + b * size_t(circuit.inputs()));
      for (size_t k = 0; k < K; ++k)
        EXPECT_NEAR(values[b * K + k], naive::expectation(observables[k], exact, circuit.wires()),
                    4 * errors[b * K + k] + (std::is_same_v<Real, float> ? 2e-5 : 1e-9))
            << what << ": " << observables[k].to_string() << ", seed " << seed;
    }
  }
}

/// The frequencies of the classical bits' values by a chi-square test.
template <class Real>
void check_shots(const Circuit& circuit, int64_t shots, const char* what) {
  const auto exact = naive::run(circuit);
  const Trajectories<Real> trajectories(circuit);
  const size_t clbits = size_t(circuit.clbits());
  for (const uint64_t seed : kSeeds) {
    std::vector<uint8_t> bits(size_t(shots) * clbits, 9);
    trajectories.shots(1, nullptr, nullptr, shots, Random(seed), bits.data());
    std::map<std::vector<int>, double> counts;
    for (int64_t s = 0; s < shots; ++s)
      counts[{bits.begin() + s * int64_t(clbits), bits.begin() + (s + 1) * int64_t(clbits)}] += 1;
    double chi2 = 0, cells = 0;
    for (const auto& [value, rho] : exact) {
      const double expected = naive::trace(rho) * double(shots), seen = counts[value];
      counts.erase(value);
      if (expected < 1e-9) {
        EXPECT_EQ(seen, 0) << what;
        continue;
      }
      chi2 += (seen - expected) * (seen - expected) / expected;
      cells += 1;
    }
    EXPECT_TRUE(counts.empty()) << what << ": impossible bits";
    // Five standard deviations of the chi-square distribution.
    EXPECT_LT(chi2, cells + 5 * std::sqrt(2 * cells)) << what << ", seed " << seed;
  }
}

std::vector<std::pair<const char*, Channel>> channels_on_one_wire() {
  return {{"bit flip", bit_flip(0.2)},
          {"phase flip", phase_flip(0.3)},
          {"bit phase flip", bit_phase_flip(0.1)},
          {"depolarizing", depolarizing(0.4)},
          {"amplitude damping", amplitude_damping(0.3)},
          {"total damping", amplitude_damping(1)},
          {"phase damping", phase_damping(0.4)},
          {"generalized amplitude damping", generalized_amplitude_damping(0.4, 0.3)},
          {"thermal relaxation", thermal_relaxation(50, 60, 20, 0.1)},
          {"nothing", bit_flip(0)}};
}

template <class Real>
void check_channels() {
  Random random(11);
  for (const auto& [name, channel] : channels_on_one_wire()) {
    Circuit circuit(3);
    for (int layer = 0; layer < 2; ++layer) {
      for (int q = 0; q < 3; ++q) circuit.rot(q, weight(), input(0), weight() * input(1)).channel(channel, {q});
      circuit.cx(0, 1).channel(channel, {1}).cx(1, 2);
    }
    const std::vector<PauliSum> observables{Z(0),        X(1) * Y(2),    Z(0) * Z(1) * Z(2),
                                            X(0) + Y(1), sum_of('Z', 3), naive::random_observable(3, 6, random)};
    check_expectations<Real>(circuit, observables, 1500, name);
  }
}
TEST(Trajectories, EveryChannelDouble) {
  check_channels<double>();
}
TEST(Trajectories, EveryChannelFloat) {
  check_channels<float>();
}

TEST(Trajectories, ChannelsOnTwoWires) {
  Random random(12);
  // Random Kraus operators: blocks of a random isometry.
  const Matrix u = naive::random_unitary(16, random);
  std::vector<Matrix> kraus;
  for (int k = 0; k < 4; ++k) {
    kraus.emplace_back(4);
    for (int i = 0; i < 4; ++i)
      for (int j = 0; j < 4; ++j) kraus.back()(i, j) = u(4 * k + i, j);
  }
  // A mixture of unitaries that are no Pauli strings.
  std::vector<Matrix> mixture{naive::scale(naive::random_unitary(4, random), std::sqrt(0.3)),
                              naive::scale(naive::random_unitary(4, random), std::sqrt(0.7))};
  for (const Channel& channel : {depolarizing(0.3, 2), Channel("random", kraus), Channel("mixture", mixture)}) {
    Circuit circuit(4);
    for (int q = 0; q < 4; ++q) circuit.ry(q, weight());
    circuit.cx(0, 3).channel(channel, {3, 0}).crx(1, 2, weight()).channel(channel, {1, 2}).cz(2, 3);
    check_expectations<double>(circuit, {Z(0) * Z(3), X(1) - Y(2), naive::random_observable(4, 8, random)}, 1500,
                               channel.name().c_str());
  }
}

/// Random gates, some noisy, with measurements, resets and conditions between them.
Circuit random_dynamic_circuit(int wires, int operations, Random& random) {
  Circuit circuit(wires, 2);
  circuit.add_register("d", 1);
  for (int k = 0; k < operations; ++k) {
    const int q = int(random.below(uint64_t(wires)));
    Circuit step(wires, 2);
    step.add_register("d", 1);
    int clbit = -1;
    switch (random.below(6)) {
      case 0:
        clbit = int(random.below(3));
        step.measure(q, clbit);
        break;
      case 1:
        step.reset(q);
        break;
      case 2:
        step.channel(amplitude_damping(0.3), {q});
        break;
      case 3:
        step.channel(depolarizing(0.2), {q});
        break;
      default:
        do {
          step = Circuit(wires, 2);
          step.add_register("d", 1);
          naive::add_random_operation(step, random);
        } while (step.operations()[0].kind == GateKind::Barrier);
    }
    Condition condition{
        .first = int(random.below(2)), .count = 2, .value = random.below(4), .negated = random.below(2) == 0};
    if (random.below(2) || (clbit >= condition.first && clbit < condition.first + 2)) {
      circuit.append(step, {}, 0, 0);
    } else {
      circuit.when(condition, step);
    }
  }
  for (int c = 0; c < 3; ++c) {
    Operation measure{.kind = GateKind::Measure, .wires = {c % wires}, .angles = {}, .controls = {}, .pauli = {}};
    measure.clbit = c;
    measure.misread = {0.1, 0.2};
    circuit.add(measure);
  }
  return circuit;
}

TEST(Trajectories, RandomDynamicCircuits) {
  Random random(13);
  for (int repetition = 0; repetition < 12; ++repetition) {
    const int wires = 2 + repetition % 3;
    const Circuit noisy = random_dynamic_circuit(wires, 25, random);
    // As constants: the oracle of the bits takes no parameters.
    Circuit fixed(wires, 2);
    fixed.add_register("d", 1);
    const auto weights = naive::random_values(size_t(noisy.weights()), random);
    const auto inputs = naive::random_values(size_t(noisy.inputs()), random);
    for (Operation operation : noisy.operations()) {
      for (Angle& angle : operation.angles) angle = angle.value(weights.data(), inputs.data());
      fixed.add(operation);
    }
    check_shots<double>(fixed, 3000, "random dynamic circuit");
    check_expectations<float>(noisy.without_final_measurements(), each('X', wires), 1000, "random dynamic circuit");
  }
}

TEST(Trajectories, MeasurementsInTheMidst) {
  Circuit circuit(2, 3);
  circuit.ry(0, 1.1).measure(0, 0).ry(0, 0.7).cx(0, 1).measure(1, 1).h(0).measure(0, 2);
  check_shots<double>(circuit, 4000, "double");
  check_shots<float>(circuit, 4000, "float");
}

TEST(Trajectories, Reset) {
  Circuit circuit(2);
  circuit.h(0).cx(0, 1).reset(0);
  const Trajectories<double> trajectories(circuit, {Z(0), Z(1), Z(0) * Z(1)}, {.trajectories = 4000});
  std::vector<double> values(3), errors(3);
  trajectories.expectations(1, nullptr, nullptr, Random(1), values.data(), errors.data());
  EXPECT_NEAR(values[0], 1, 1e-12);
  EXPECT_NEAR(values[1], 0, 4 * errors[1]);
  EXPECT_NEAR(errors[1], 1 / std::sqrt(4000.0), 1e-4);
}

// Qubit 0's state arrives at qubit 2, whatever is measured.
TEST(Trajectories, Teleportation) {
  Random random(14);
  for (int repetition = 0; repetition < 5; ++repetition) {
    const double a = random.uniform(0, 3), b = random.uniform(-3, 3);
    Circuit flip(3, 2), phase(3, 2);
    flip.x(2);
    phase.z(2);
    Circuit circuit(3, 2);
    circuit.ry(0, a).rz(0, b);
    circuit.h(1).cx(1, 2).cx(0, 1).h(0).measure(0, 0).measure(1, 1);
    circuit.when({.first = 1}, flip).when({.first = 0}, phase);
    const Trajectories<double> trajectories(circuit, {X(2), Y(2), Z(2)}, {.trajectories = 50});
    std::vector<double> values(3), errors(3);
    trajectories.expectations(1, nullptr, nullptr, Random(5), values.data(), errors.data());
    EXPECT_NEAR(values[0], std::sin(a) * std::cos(b), 1e-12);
    EXPECT_NEAR(values[1], std::sin(a) * std::sin(b), 1e-12);
    EXPECT_NEAR(values[2], std::cos(a), 1e-12);
    for (const double error : errors) EXPECT_LT(error, 1e-8);
  }
}

// Tries up to six times to measure 0 after a rotation by pi/2: only 2^-6 of the runs do not succeed.
TEST(Trajectories, RepeatUntilSuccess) {
  Circuit circuit(1, 2);
  circuit.ry(0, std::numbers::pi / 2).measure(0, 0);
  Circuit again(1, 2);
  again.reset(0).ry(0, std::numbers::pi / 2);
  for (int attempt = 1; attempt < 6; ++attempt) {
    circuit.when({.first = 0}, again);
    Operation measure{.kind = GateKind::Measure, .wires = {0}, .angles = {}, .controls = {}, .pauli = {}};
    measure.clbit = 0;
    measure.conditions = {{.first = 0}};
    circuit.add(measure);
  }
  const int64_t shots = 20000;
  std::vector<uint8_t> bits(2 * shots);
  Trajectories<double>(circuit).shots(1, nullptr, nullptr, shots, Random(6), bits.data());
  double failures = 0;
  for (int64_t s = 0; s < shots; ++s) failures += bits[size_t(2 * s)];
  EXPECT_NEAR(failures / shots, 1 / 64.0, 4 * std::sqrt(1 / 64.0 / shots));
}

TEST(Trajectories, WithoutNoiseTheValueIsExact) {
  Random random(15);
  const Circuit circuit = naive::random_circuit(4, 20, random);
  const auto weights = naive::random_values(size_t(circuit.weights()), random);
  const auto inputs = naive::random_values(size_t(circuit.inputs()), random);
  const PauliSum observable = naive::random_observable(4, 5, random);
  double value, error;
  Trajectories<double>(circuit, {observable}).expectations(1, weights.data(), inputs.data(), Random(7), &value, &error);
  EXPECT_NEAR(value, naive::expectation(observable, naive::run(circuit, weights.data(), inputs.data()), 4), 1e-10);
  EXPECT_EQ(error, 0);
}

// The error that is stated is the scatter of repetitions.
TEST(Trajectories, StandardError) {
  Circuit circuit(1);
  circuit.ry(0, 0.4).channel(bit_flip(0.3), {0});
  const Trajectories<double> trajectories(circuit, {Z(0)}, {.trajectories = 300});
  double sum = 0, squares = 0, stated = 0;
  constexpr int kRepetitions = 400;
  for (int seed = 0; seed < kRepetitions; ++seed) {
    double value, error;
    trajectories.expectations(1, nullptr, nullptr, Random(uint64_t(seed)), &value, &error);
    sum += value / kRepetitions;
    squares += value * value / kRepetitions;
    stated += error / kRepetitions;
  }
  EXPECT_NEAR(stated, std::sqrt(squares - sum * sum), 0.15 * stated);
  // cos(0.4) times +-1.
  EXPECT_NEAR(stated, std::cos(0.4) * 2 * std::sqrt(0.3 * 0.7 / 300), 0.02 * stated);
}

TEST(Trajectories, DoNotDependOnThreadsOrTheBatch) {
  Random random(16);
  for (const int wires : {3, 12}) {
    Circuit circuit(wires, 1);
    for (int layer = 0; layer < 2; ++layer) {
      for (int q = 0; q < wires; ++q) circuit.rot(q, input(0), weight(), input(1));
      circuit.cnot_chain();
    }
    circuit = NoiseModel::depolarizing(0.01, 0.05).apply(circuit);
    circuit.channel(amplitude_damping(0.2), {0}).measure(1, 0);
    const Trajectories<float> trajectories(circuit, each('Z', wires), {.trajectories = 100});
    const std::vector<float> weights(size_t(circuit.weights()), 0.3f), inputs{0.1f, 0.2f, 0.3f, 0.4f};
    std::vector<std::vector<float>> values;
    std::vector<std::vector<uint8_t>> bits;
    const int before = threads();
    for (const int count : {1, 3}) {
      set_threads(count);
      values.emplace_back(size_t(2 * wires));
      trajectories.expectations(2, weights.data(), inputs.data(), Random(8), values.back().data());
      bits.emplace_back(2 * 300);
      trajectories.shots(2, weights.data(), inputs.data(), 300, Random(8), bits.back().data());
    }
    set_threads(before);
    EXPECT_EQ(values[0], values[1]);
    EXPECT_EQ(bits[0], bits[1]);
    std::vector<float> first(size_t(wires), 0.0f);
    trajectories.expectations(1, weights.data(), inputs.data(), Random(8), first.data());
    EXPECT_EQ(first, std::vector<float>(values[0].begin(), values[0].begin() + wires));
  }
}

TEST(Trajectories, Errors) {
  Circuit circuit(2);
  EXPECT_THAT([&] { Trajectories<double>(circuit, {Z(2)}); },
              ThrowsMessage<Error>(HasSubstr("wire 2 is out of range")));
  EXPECT_THROW(Trajectories<double>(circuit, {}, {.trajectories = 0}), Error);
  EXPECT_THAT([] { Trajectories<double>(Circuit(50)); }, ThrowsMessage<Error>(HasSubstr("GiB")));
  const Trajectories<double> trajectories(circuit);
  EXPECT_THROW(trajectories.shots(1, nullptr, nullptr, -1, Random(1), nullptr), Error);
  EXPECT_THROW(trajectories.expectations(-1, nullptr, nullptr, Random(1), nullptr), Error);
}

}  // namespace
}  // namespace quanta
