#include "quanta/simulate/mps.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>

#include "quanta/circuit/ansaetze.h"
#include "quanta/circuit/random_circuit.h"
#include "quanta/core/error.h"
#include "quanta/core/parallel.h"
#include "quanta/simulate/simulator.h"

// The oracles: the state vector (Simulator<double>, itself judged by naive linear algebra) on few wires, closed forms
// on many.

namespace quanta {
namespace {

using naive::random_observable;
using naive::random_values;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

constexpr MpsOptions kExact{.max_bond = 64, .cutoff = 0};

/// Any gates, but no more than six wires together.
Circuit random_circuit(int wires, int operations, Random& random) {
  Circuit circuit(wires);
  while (int(circuit.operations().size()) < operations) {
    Circuit next = circuit;
    naive::add_random_operation(next, random);
    const Operation& last = next.operations().back();
    if (last.kind == GateKind::Barrier || last.all_wires().size() <= 6) circuit = next;
  }
  return circuit;
}

std::vector<Complex> states(const auto& simulator, const std::vector<double>& w, const std::vector<double>& x) {
  std::vector<Complex> result(size_t{1} << simulator.wires());
  simulator.states(1, w.data(), x.data(), result.data());
  return result;
}

std::vector<double> expectations(const auto& simulator, int64_t batch, const std::vector<double>& w,
                                 const std::vector<double>& x) {
  std::vector<double> result(size_t(batch * simulator.outputs()), NAN);
  simulator.expectations(batch, w.data(), x.data(), result.data());
  return result;
}

struct Gradient {
  std::vector<double> values, dweights, dinputs;
  friend bool operator==(const Gradient&, const Gradient&) = default;
};

Gradient gradient(const auto& simulator, int64_t batch, const std::vector<double>& w, const std::vector<double>& x,
                  const std::vector<double>& upstream) {
  Gradient g{std::vector<double>(size_t(batch * simulator.outputs()), NAN),
             std::vector<double>(size_t(simulator.weights()), NAN),
             std::vector<double>(size_t(batch * simulator.inputs()), NAN)};
  simulator.vjp(batch, w.data(), x.data(), upstream.data(), g.dweights.data(), g.dinputs.data(), g.values.data());
  return g;
}

double distance(const std::vector<double>& a, const std::vector<double>& b) {
  EXPECT_EQ(a.size(), b.size());
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
  for (const double value : a)
    if (std::isnan(value)) return NAN;
  return largest;
}

// --- full bond
// --------------------------------------------------------------------------------------------------------

TEST(Mps, StatesEqualTheStateVector) {
  Random random(1);
  for (int trial = 0; trial < 60; ++trial) {
    const int n = 1 + trial % 10;
    const Circuit circuit = random_circuit(n, 12 + trial / 2, random);
    const auto w = random_values(circuit.weights(), random), x = random_values(circuit.inputs(), random);
    const auto expected = states(Simulator<double>(circuit), w, x);
    for (const bool reorder : {false, true}) {
      const MpsSimulator<double> mps(circuit, {}, {.max_bond = 64, .cutoff = 0, .reorder = reorder});
      EXPECT_LT(naive::distance(states(mps, w, x), expected), 1e-10) << "trial " << trial;
    }
  }
}

TEST(Mps, EveryGateOnEveryPair) {
  Random random(2);
  for (const GateInfo& info : gate_table()) {
    if (!is_unitary(info.kind)) continue;
    for (int a = 0; a < 4; ++a) {
      for (int b = 0; b < 4; ++b) {
        if (a == b) continue;
        Circuit circuit(4);
        for (int q = 0; q < 4; ++q) circuit.rot(q, random.normal(), random.normal(), random.normal());
        circuit.cnot_chain();
        std::vector<int> wires{a, b, a != 0 && b != 0 ? 0 : a != 3 && b != 3 ? 3 : a != 1 && b != 1 ? 1 : 2};
        if (info.wires) wires.resize(info.wires);
        Operation operation{.kind = info.kind, .wires = wires, .angles = {}, .controls = {}, .pauli = {}};
        for (int k = 0; k < info.angles; ++k) operation.angles.push_back(random.normal());
        if (info.kind == GateKind::Unitary)
          operation.matrix = std::make_shared<const Matrix>(naive::random_unitary(8, random));
        if (info.kind == GateKind::PauliRotation) {
          operation.pauli = PauliString({{wires[0], 'X'}, {wires[1], 'Y'}, {wires[2], 'Z'}});
          operation.wires.clear();
        }
        circuit.add(operation);
        EXPECT_LT(naive::distance(states(MpsSimulator<double>(circuit, {}, kExact), {}, {}),
                                  states(Simulator<double>(circuit), {}, {})),
                  1e-10)
            << info.name << " on " << a << ", " << b;
      }
    }
  }
}

TEST(Mps, AmplitudesProbabilitiesAndFloatAgreeWithStates) {
  Random random(3);
  const Circuit circuit = random_circuit(6, 40, random);
  const auto w = random_values(circuit.weights(), random), x = random_values(circuit.inputs(), random);
  const MpsSimulator<double> mps(circuit, {}, kExact);
  const auto expected = states(Simulator<double>(circuit), w, x);
  std::vector<uint64_t> basis(64);
  for (size_t i = 0; i < 64; ++i) basis[i] = i;
  std::vector<Complex> amplitudes(64);
  mps.amplitudes(1, w.data(), x.data(), 64, basis.data(), amplitudes.data());
  EXPECT_LT(naive::distance(amplitudes, expected), 1e-10);
  std::vector<double> probabilities(64);
  mps.probabilities(1, w.data(), x.data(), probabilities.data());
  for (size_t i = 0; i < 64; ++i) EXPECT_NEAR(probabilities[i], std::norm(expected[i]), 1e-10);

  const std::vector<float> wf(w.begin(), w.end()), xf(x.begin(), x.end());
  std::vector<std::complex<float>> single(64);
  MpsSimulator<float>(circuit, {}, kExact).states(1, wf.data(), xf.data(), single.data());
  EXPECT_LT(naive::distance({single.begin(), single.end()}, expected), 1e-5);
}

TEST(Mps, ExpectationsEqualTheStateVector) {
  Random random(4);
  for (int trial = 0; trial < 30; ++trial) {
    const int n = 1 + trial % 8, batch = 2;
    const Circuit circuit = random_circuit(n, 20, random);
    const auto w = random_values(circuit.weights(), random), x = random_values(batch * circuit.inputs(), random);
    const std::vector<PauliSum> observables{random_observable(n, 6, random), sum_of('Z', n), PauliSum(0.7), PauliSum(),
                                            random_observable(n, 20, random)};
    EXPECT_LT(distance(expectations(MpsSimulator<double>(circuit, observables, kExact), batch, w, x),
                       expectations(Simulator<double>(circuit, observables), batch, w, x)),
              1e-10)
        << "trial " << trial;
  }
}

TEST(Mps, GradientsEqualTheStateVectors) {
  Random random(5);
  for (int trial = 0; trial < 30; ++trial) {
    const int n = 1 + trial % 7, batch = 2;
    const Circuit circuit = random_circuit(n, 20, random);
    const auto w = random_values(circuit.weights(), random), x = random_values(batch * circuit.inputs(), random);
    const std::vector<PauliSum> observables{random_observable(n, 6, random), sum_of('Z', n) + 0.7, PauliSum()};
    const auto upstream = random_values(batch * 3, random);
    const Gradient mps = gradient(MpsSimulator<double>(circuit, observables, kExact), batch, w, x, upstream);
    const Gradient exact = gradient(Simulator<double>(circuit, observables), batch, w, x, upstream);
    EXPECT_LT(distance(mps.values, exact.values), 1e-10) << "trial " << trial;
    EXPECT_LT(distance(mps.dweights, exact.dweights), 1e-9) << "trial " << trial;
    EXPECT_LT(distance(mps.dinputs, exact.dinputs), 1e-9) << "trial " << trial;
  }
}

// --- truncation
// -------------------------------------------------------------------------------------------------------

TEST(Mps, DiscardedWeightEstimatesTheFidelity) {
  Random random(6);
  for (int trial = 0; trial < 6; ++trial) {
    Circuit circuit(10);
    strongly_entangling(circuit, 2);
    const auto w = random_values(circuit.weights(), random, 0.6);
    const auto exact = states(Simulator<double>(circuit), w, {});
    for (const int bond : {4, 8, 16}) {
      const MpsSimulator<double> mps(circuit, {}, {.max_bond = bond, .cutoff = 0});
      std::vector<Complex> truncated(1024);
      const MpsReport report = mps.states(1, w.data(), nullptr, truncated.data());
      EXPECT_NEAR(naive::inner(truncated, truncated).real(), 1, 1e-12);
      EXPECT_LE(report.largest_bond, bond);
      EXPECT_GT(report.discarded_weight, 0);
      EXPECT_LE(report.fidelity, 1 - report.discarded_weight + 0.5 * report.discarded_weight * report.discarded_weight);
      const double fidelity = std::norm(naive::inner(exact, truncated));
      // Errors of successive truncations add up as weights if they are independent, at worst as amplitudes.
      EXPECT_GE(fidelity, 1 - 2 * report.discarded_weight) << bond;
      EXPECT_LT(fidelity, 1 - 0.05 * report.discarded_weight) << bond;
    }
  }
}

TEST(Mps, CutoffBoundsEachTruncation) {
  Random random(7);
  Circuit circuit(10);
  strongly_entangling(circuit, 2);
  const auto w = random_values(circuit.weights(), random, 0.3);
  const auto exact = states(Simulator<double>(circuit), w, {});
  int last = 0;
  for (const double cutoff : {1e-3, 1e-6, 1e-12}) {
    std::vector<Complex> truncated(1024);
    const MpsReport report =
        MpsSimulator<double>(circuit, {}, {.cutoff = cutoff}).states(1, w.data(), nullptr, truncated.data());
    EXPECT_GE(std::norm(naive::inner(exact, truncated)), 1 - 200 * cutoff);
    EXPECT_LT(report.discarded_weight, 200 * cutoff);
    EXPECT_GT(report.largest_bond, last);
    last = report.largest_bond;
  }
}

TEST(Mps, GradientOfATruncatedStateIsClose) {
  Random random(8);
  Circuit circuit(10);
  strongly_entangling(circuit, 2);
  const auto w = random_values(circuit.weights(), random, 0.3);
  const std::vector<PauliSum> energy{sum_of('Z', 10) + X(0) * X(9)};
  const Gradient exact = gradient(Simulator<double>(circuit, energy), 1, w, {}, {1});
  const Gradient cut = gradient(MpsSimulator<double>(circuit, energy, {.cutoff = 1e-7}), 1, w, {}, {1});
  EXPECT_LT(distance(cut.dweights, exact.dweights), 1e-2);
  EXPECT_GT(distance(cut.dweights, exact.dweights), 1e-9);  // it did truncate
}

// --- many wires
// -------------------------------------------------------------------------------------------------------

PauliString all_of(char letter, int wires) {
  std::vector<std::pair<int, char>> factors;
  for (int q = 0; q < wires; ++q) factors.emplace_back(q, letter);
  return PauliString(factors);
}

TEST(Mps, GhzOnAHundredWires) {
  Circuit circuit(100);
  circuit.h(0).cnot_chain();
  const MpsSimulator<double> mps(circuit, {sum_of('Z', 100), all_of('X', 100), all_of('Z', 100), Z(3) * Z(97)});
  std::vector<double> values(4);
  const MpsReport report = mps.expectations(1, nullptr, nullptr, values.data());
  EXPECT_THAT(values, testing::Pointwise(testing::DoubleNear(1e-12), {0, 1, 1, 1}));
  EXPECT_EQ(report.largest_bond, 2);
  EXPECT_LT(report.discarded_weight, 1e-20);

  ASSERT_EQ(mps.words(), 2);
  std::vector<uint64_t> samples(2 * 400);
  mps.samples(1, nullptr, nullptr, 400, Random(9), samples.data());
  int ones = 0;
  for (int s = 0; s < 400; ++s) {
    const bool one = samples[2 * s] & 1;
    EXPECT_EQ(samples[2 * s], one ? ~uint64_t{0} : 0);
    EXPECT_EQ(samples[2 * s + 1], one ? (uint64_t{1} << 36) - 1 : 0);
    ones += one;
  }
  EXPECT_NEAR(ones, 200, 50);  // five standard deviations

  const std::vector<uint64_t> basis{0, 0, ~uint64_t{0}, (uint64_t{1} << 36) - 1, 1, 0};
  std::vector<Complex> amplitudes(3);
  mps.amplitudes(1, nullptr, nullptr, 3, basis.data(), amplitudes.data());
  EXPECT_LT(naive::distance(amplitudes, {std::sqrt(0.5), std::sqrt(0.5), 0}), 1e-12);
}

TEST(Mps, RotationsOnAHundredWires) {
  Circuit circuit(100);
  for (int q = 0; q < 100; ++q) circuit.ry(q, weight());
  Random random(10);
  const auto w = random_values(100, random);
  PauliSum energy = sum_of('Z', 100);
  for (int q = 0; q + 1 < 100; ++q) energy = energy + X(q) * X(q + 1);
  double expected = 0;
  std::vector<double> slope(100);
  for (int q = 0; q < 100; ++q) {
    expected += std::cos(w[q]) + (q < 99 ? std::sin(w[q]) * std::sin(w[q + 1]) : 0);
    slope[q] =
        -std::sin(w[q]) + std::cos(w[q]) * ((q > 0 ? std::sin(w[q - 1]) : 0) + (q < 99 ? std::sin(w[q + 1]) : 0));
  }
  const Gradient g = gradient(MpsSimulator<double>(circuit, {energy}), 1, w, {}, {1});
  EXPECT_NEAR(g.values[0], expected, 1e-11);
  EXPECT_LT(distance(g.dweights, slope), 1e-10);
}

TEST(Mps, ClusterStateOnARing) {
  constexpr int n = 100;
  Circuit circuit(n);
  for (int q = 0; q < n; ++q) circuit.h(q);
  for (int q = 0; q < n; ++q) circuit.cz(q, (q + 1) % n);
  std::vector<PauliSum> stabilizers;
  for (int q = 0; q < n; ++q) stabilizers.push_back(Z((q + n - 1) % n) * X(q) * Z((q + 1) % n));
  stabilizers.push_back(X(4));
  for (const bool reorder : {false, true}) {
    const MpsSimulator<double> mps(circuit, stabilizers, {.reorder = reorder});
    std::vector<double> values(n + 1);
    const MpsReport report = mps.expectations(1, nullptr, nullptr, values.data());
    for (int q = 0; q < n; ++q) EXPECT_NEAR(values[q], 1, 1e-11);
    EXPECT_NEAR(values[n], 0, 1e-11);
    EXPECT_EQ(report.largest_bond, 4);
  }
}

// Rotation by a about the parity of Z takes the product of |+> to <X_q> = cos a, whatever the distance.
TEST(Mps, PauliRotationAcrossTheChain) {
  Circuit circuit(60);
  for (int q = 0; q < 60; ++q) circuit.h(q);
  circuit.pauli_rotation(all_of('Z', 60), weight());
  const double a = 0.7;
  EXPECT_NEAR(expectations(MpsSimulator<double>(circuit, {X(30)}), 1, {a}, {})[0], std::cos(a), 1e-11);
  EXPECT_NEAR(gradient(MpsSimulator<double>(circuit, {X(30)}), 1, {a}, {}, {1}).dweights[0], -std::sin(a), 1e-10);
}

// --- samples, threads, errors
// -----------------------------------------------------------------------------------------

TEST(Mps, SamplesFollowTheProbabilities) {
  Random random(11);
  const Circuit circuit = random_circuit(5, 40, random);
  const auto w = random_values(circuit.weights(), random), x = random_values(circuit.inputs(), random);
  std::vector<double> p(32);
  Simulator<double>(circuit).probabilities(1, w.data(), x.data(), p.data());
  constexpr int kShots = 20000;
  for (const uint64_t seed : {1, 2, 3}) {
    std::vector<uint64_t> samples(kShots);
    MpsSimulator<double>(circuit, {}, kExact).samples(1, w.data(), x.data(), kShots, Random(seed), samples.data());
    std::vector<double> counts(32);
    for (const uint64_t sample : samples) ++counts.at(sample);
    double chi_square = 0;
    int cells = 0;
    for (size_t i = 0; i < 32; ++i) {
      if (p[i] * kShots < 5) continue;
      chi_square += std::pow(counts[i] - p[i] * kShots, 2) / (p[i] * kShots);
      ++cells;
    }
    EXPECT_GT(cells, 10);
    EXPECT_LT(chi_square, cells + 5 * std::sqrt(2.0 * cells)) << "seed " << seed;
  }
}

TEST(Mps, ThreadsAndBatchesChangeNothing) {
  Random random(12);
  const Circuit circuit = random_circuit(7, 40, random);
  constexpr int kBatch = 5;
  const auto w = random_values(circuit.weights(), random), x = random_values(kBatch * circuit.inputs(), random);
  const MpsSimulator<double> mps(circuit, {random_observable(7, 5, random)});
  const auto run = [&](int count) {
    set_threads(count);
    std::vector<uint64_t> samples(kBatch * 200);
    mps.samples(kBatch, w.data(), x.data(), 200, Random(1), samples.data());
    return std::pair(gradient(mps, kBatch, w, x, {1, 2, 3, 4, 5}), samples);
  };
  const int before = threads();
  const auto one = run(1), three = run(3);
  set_threads(before);
  EXPECT_EQ(one, three);
  const std::vector<double> second(x.begin() + circuit.inputs(), x.begin() + 2 * circuit.inputs());
  EXPECT_EQ(expectations(mps, 1, w, second)[0], one.first.values[1]);
}

TEST(Mps, SaysWhatItCannotDo) {
  const auto message = [](const Circuit& circuit, const std::vector<PauliSum>& observables = {},
                          const MpsOptions& options = {}) {
    return [=] { MpsSimulator<double>(circuit, observables, options); };
  };
  EXPECT_THAT(message(Circuit(2).amplitude_encoding()), ThrowsMessage<Error>(HasSubstr("AmplitudeEncoding")));
  EXPECT_THAT(
      message(Circuit(2, 1).x(0).measure(0, 0)),
      ThrowsMessage<Error>(HasSubstr("operation 1: a matrix-product state runs unitary gates alone, not Measure")));
  EXPECT_THAT(message(Circuit(8).add(GateKind::X, {0}, {}, {1, 2, 3, 4, 5, 6})),
              ThrowsMessage<Error>(HasSubstr("7 wires")));
  EXPECT_THAT(message(Circuit(2), {Z(2)}), ThrowsMessage<Error>(HasSubstr("wire 2")));
  EXPECT_THAT(message(Circuit(2), {}, {.max_bond = 0}), ThrowsMessage<Error>(HasSubstr("bond")));
  EXPECT_THAT(message(Circuit(2), {}, {.cutoff = -1}), ThrowsMessage<Error>(HasSubstr("cutoff")));
  const MpsSimulator<double> large(Circuit(30));
  EXPECT_THAT([&] { large.states(1, nullptr, nullptr, nullptr); }, ThrowsMessage<Error>(HasSubstr("at most 24")));
  const MpsSimulator<double> rotation(Circuit(2).ry(0, weight()).cx(0, 1), {Z(0)});
  EXPECT_THAT([&] { expectations(rotation, 1, {NAN}, {}); }, ThrowsMessage<Error>(HasSubstr("not finite")));
}

}  // namespace
}  // namespace quanta
