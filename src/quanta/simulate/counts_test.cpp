#include "quanta/simulate/counts.h"

#include <gmock/gmock.h>

#include <cmath>

#include "quanta/circuit/noise.h"
#include "quanta/circuit/random_circuit.h"
#include "quanta/core/error.h"
#include "quanta/simulate/brute_force.h"

namespace quanta {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;
using ::testing::ThrowsMessage;

const std::vector<double> kNone;

TEST(Counts, AreWrittenAsQiskitDoes) {
  Circuit circuit(3);
  const int a = circuit.add_register("a", 1), b = circuit.add_register("b", 2);
  circuit.x(0).measure(0, a).measure(0, b).measure(1, b + 1);
  EXPECT_THAT(sample_counts(circuit, kNone, kNone, 10, Random(1)), ElementsAre(Pair("01 1", 10)));
  Circuit all(3);
  all.x(2);
  EXPECT_THAT(sample_counts(all, kNone, kNone, 7, Random(1)), ElementsAre(Pair("100", 7)));
  EXPECT_THAT(sample_counts(all, kNone, kNone, 7, Random(1), {.single_precision = true}), ElementsAre(Pair("100", 7)));
  EXPECT_TRUE(sample_counts(all, kNone, kNone, 0, Random(1)).empty());
  // In the midst of the circuit: trajectories.
  Circuit midst(1, 2);
  midst.x(0).measure(0, 1).x(0).measure(0, 0);
  EXPECT_THAT(sample_counts(midst, kNone, kNone, 5, Random(1)), ElementsAre(Pair("10", 5)));
}

// Both ways to run a circuit have its distribution, read-out errors included.
TEST(Counts, FollowTheDistribution) {
  Random random(2);
  for (const bool dynamic : {false, true}) {
    Circuit circuit(3, 3);
    for (int q = 0; q < 3; ++q) circuit.ry(q, 0.4 + q);
    circuit.cx(0, 1).cx(1, 2);
    if (dynamic) circuit.channel(amplitude_damping(0.3), {1});
    circuit.measure(0, 2).measure(1, 0).measure(2, 1);
    circuit = NoiseModel().readout(0.1, 0.2, 0).readout(0.05, 0.3, 2).apply(circuit);
    const auto exact = naive::run(circuit);
    const int64_t shots = 40000;
    const Counts counts = sample_counts(circuit, kNone, kNone, shots, Random(3));
    double chi2 = 0;
    for (const auto& [bits, rho] : exact) {
      const std::string key{char('0' + bits[2]), char('0' + bits[1]), char('0' + bits[0])};
      const double expected = naive::trace(rho) * double(shots);
      const double seen = counts.contains(key) ? double(counts.at(key)) : 0;
      chi2 += (seen - expected) * (seen - expected) / expected;
    }
    EXPECT_LT(chi2, 24.3) << "the 99.9 % point for 7 degrees of freedom";
    EXPECT_EQ(sample_counts(circuit, kNone, kNone, shots, Random(3)), counts);
    EXPECT_NE(sample_counts(circuit, kNone, kNone, shots, Random(4)), counts);
  }
}

TEST(Marginal, SumsTheOtherWiresUp) {
  std::vector<double> p(16);
  for (size_t i = 0; i < 16; ++i) p[i] = double(i * i);
  const auto result = marginal(p, {3, 1});
  for (size_t m = 0; m < 4; ++m) {
    double expected = 0;
    for (size_t i = 0; i < 16; ++i)
      if ((i >> 3 & 1) == (m & 1) && (i >> 1 & 1) == (m >> 1)) expected += p[i];
    EXPECT_DOUBLE_EQ(result[m], expected);
  }
  EXPECT_THAT([&] { marginal(p, {4}); }, ThrowsMessage<Error>(HasSubstr("wire 4 is out of range")));
  EXPECT_THROW(marginal(p, {1, 1}), Error);
  EXPECT_THROW(marginal(std::vector<double>(3), {0}), Error);
}

TEST(Variance, IsThatOfTheMatrix) {
  Random random(5);
  for (int repetition = 0; repetition < 5; ++repetition) {
    const Circuit circuit = naive::random_circuit(3, 15, random);
    const auto weights = naive::random_values(size_t(circuit.weights()), random);
    const auto inputs = naive::random_values(size_t(circuit.inputs()), random);
    const std::vector<PauliSum> observables{naive::random_observable(3, 6, random), X(0) * Z(2), PauliSum(2.0)};
    const auto result = variances(circuit, observables, weights, inputs);
    const Matrix rho = naive::run(circuit, weights.data(), inputs.data()).begin()->second;
    for (size_t k = 0; k < observables.size(); ++k) {
      const Matrix o = observables[k].matrix(3);
      const double mean = naive::trace(naive::multiply(o, rho));
      EXPECT_NEAR(result[k], naive::trace(naive::multiply(naive::multiply(o, o), rho)) - mean * mean, 1e-9);
    }
  }
}

TEST(Groups, AreValidAndComplete) {
  Random random(6);
  const PauliSum sum = naive::random_observable(4, 40, random);
  const auto groups = group_qubit_wise(sum.terms);
  std::vector<int> seen(sum.terms.size(), 0);
  for (const MeasurementGroup& group : groups)
    for (const size_t i : group.terms) {
      ++seen[i];
      for (const size_t j : group.terms) EXPECT_TRUE(sum.terms[i].pauli.qubit_wise_commutes_with(sum.terms[j].pauli));
      for (const auto& [wire, letter] : sum.terms[i].pauli.factors) EXPECT_EQ(group.basis.at(wire), letter);
    }
  EXPECT_THAT(seen, testing::Each(1));
  // An Ising model with a transverse field needs two settings.
  PauliSum ising;
  for (int q = 0; q < 5; ++q) ising = ising + Z(q) * Z((q + 1) % 5) + 0.5 * X(q);
  EXPECT_EQ(group_qubit_wise(ising.terms).size(), 2u);
}

/// Repetitions scatter about the exact value as the stated error says.
void check_estimates(const Circuit& circuit, const std::vector<PauliSum>& observables, const std::vector<double>& exact,
                     ShotOptions options) {
  constexpr int kRepetitions = 200;
  for (size_t k = 0; k < observables.size(); ++k) {
    double sum = 0, squares = 0, stated = 0;
    for (int seed = 0; seed < kRepetitions; ++seed) {
      const Estimate e = sample_expectations(circuit, observables, kNone, kNone, Random(uint64_t(seed)), options)[k];
      sum += e.value / kRepetitions;
      squares += e.value * e.value / kRepetitions;
      stated += e.standard_error / kRepetitions;
    }
    const double scatter = std::sqrt(std::max(0.0, squares - sum * sum));
    EXPECT_NEAR(sum, exact[k], 4 * stated / std::sqrt(kRepetitions) + 1e-9) << observables[k].to_string();
    EXPECT_NEAR(scatter, stated, 0.25 * stated + 1e-7) << observables[k].to_string();
  }
}

TEST(Shots, AreUnbiasedWithTheErrorTheyState) {
  Circuit circuit(3);
  for (int q = 0; q < 3; ++q) circuit.ry(q, 0.5 + q).rz(q, 0.3 * q);
  circuit.cx(0, 1).cx(1, 2);
  const std::vector<PauliSum> observables{Z(0) * Z(1) + 0.5 * X(0) * X(1) - 0.7 * Y(2) + 1.5, Z(2) - 0.3 * Z(0),
                                          PauliSum(0.25)};
  for (const bool noisy : {false, true}) {
    if (noisy) circuit.channel(amplitude_damping(0.3), {0}).channel(depolarizing(0.1, 2), {1, 2});
    std::vector<double> exact;
    for (const PauliSum& o : observables) exact.push_back(naive::expectation(o, naive::run(circuit), 3));
    check_estimates(circuit, observables, exact, {.shots = 300});
    check_estimates(circuit, observables, exact, {.shots = 300, .by_weight = false});
  }
}

// <Z> is damped and shifted by known amounts.
TEST(Shots, SeeReadoutErrors) {
  for (const bool noisy : {false, true}) {
    Circuit circuit(1);
    circuit.ry(0, 1.0);
    if (noisy) circuit.channel(bit_flip(0), {0});
    circuit = NoiseModel().readout(0.1, 0.3).apply(circuit.measure_all());
    const double p = std::pow(std::sin(0.5), 2), read = 0.1 * (1 - p) + 0.7 * p;
    check_estimates(circuit, {Z(0)}, {1 - 2 * read}, {.shots = 200});
  }
}

TEST(Shots, Errors) {
  Circuit circuit(2);
  circuit.ry(0, weight());
  EXPECT_THAT([&] { sample_counts(circuit, kNone, kNone, 1, Random(1)); },
              ThrowsMessage<Error>(HasSubstr("the circuit has 1 weights, got 0")));
  const std::vector<double> w{0.1};
  EXPECT_THROW(sample_counts(circuit, w, w, 1, Random(1)), Error);
  EXPECT_THROW(sample_counts(circuit, w, kNone, -1, Random(1)), Error);
  EXPECT_THAT([&] { sample_expectations(circuit, {X(0) + Z(0)}, w, kNone, Random(1), {.shots = 1}); },
              ThrowsMessage<Error>(HasSubstr("need 2 measurement settings, got 1 shots")));
  EXPECT_THROW(sample_expectations(circuit, {X(5)}, w, kNone, Random(1)), Error);
  circuit.reset(0);
  EXPECT_THROW(variances(circuit, {X(0)}, w, kNone), Error);
}

}  // namespace
}  // namespace quanta
