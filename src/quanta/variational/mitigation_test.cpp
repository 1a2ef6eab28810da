#include "quanta/variational/mitigation.h"

#include <gmock/gmock.h>

#include <cmath>
#include <numeric>

#include "quanta/circuit/ansaetze.h"
#include "quanta/circuit/random_circuit.h"
#include "quanta/core/error.h"
#include "quanta/simulate/density.h"
#include "quanta/simulate/simulator.h"
#include "quanta/variational/optimizer.h"

namespace quanta {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pointwise;
using ::testing::ThrowsMessage;

double noisy_value(const Circuit& circuit, const PauliSum& observable, const std::vector<double>& weights = {}) {
  double value = 0;
  DensitySimulator<double>(circuit, {observable}).expectations(1, weights.data(), nullptr, &value);
  return value;
}


// --- folding

TEST(Folding, DoesTheSame) {
  Circuit circuit(4);
  strongly_entangling(circuit, 2);
  circuit.iswap(0, 2).cu(1, 3, weight(0), 0.2, weight(1), 0.1);
  Random random(1);
  const std::vector<double> weights = naive::random_values(size_t(circuit.weights()), random);
  const Matrix expected = circuit.matrix(weights);
  for (const double factor : {1.0, 1.7, 3.0, 4.2, 5.0})
    for (const Circuit& folded : {fold_gates(circuit, factor), fold_circuit(circuit, factor)}) {
      EXPECT_EQ(folded.weights(), circuit.weights());
      EXPECT_LT(naive::distance(folded.matrix(weights), expected), 1e-12) << factor;
    }
}

TEST(Folding, RepeatsTheGates) {
  Circuit circuit(2);
  circuit.h(0).cnot(0, 1).barrier().ry(1, 0.3).rz(0, weight()).x(1);
  for (const auto& [factor, count] : {std::pair(1.0, 5), {3.0, 15}, {5.0, 25}, {1.4, 7}, {2.2, 11}, {4.2, 21}}) {
    for (const Circuit& folded : {fold_gates(circuit, factor), fold_circuit(circuit, factor)}) {
      size_t found = 0;
      for (const Operation& operation : folded.operations()) found += operation.kind != GateKind::Barrier;
      EXPECT_EQ(found, size_t(count)) << factor;
    }
  }
}

TEST(Folding, MultipliesTheNoise) {
  // RY, RZ with depolarizing noise: <Z> = cos(theta) (1 - p)^2, and three times the exponent when folded by 3.
  Circuit circuit(1);
  circuit.ry(0, 0.7).rz(0, 0.3);
  const NoiseModel noise = NoiseModel::depolarizing(0.1, 0.1);
  EXPECT_NEAR(noisy_value(noise.apply(circuit), Z(0)), 0.6195221717004358, 1e-12);
  for (const Circuit& folded : {fold_gates(circuit, 3), fold_circuit(circuit, 3)})
    EXPECT_NEAR(noisy_value(noise.apply(folded), Z(0)), std::cos(0.7) * std::pow(0.9, 6), 1e-12);
}

TEST(Folding, RefusesWhatItCannotInvert) {
  Circuit circuit(1, 1);
  circuit.h(0);
  EXPECT_THAT([&] { fold_gates(circuit, 0.5); }, ThrowsMessage<Error>(HasSubstr("the factor is 0.5")));
  circuit.measure(0, 0);
  EXPECT_THAT([&] { fold_circuit(circuit, 3); }, ThrowsMessage<Error>(HasSubstr("before noise and measurements")));
}

// --- extrapolation

TEST(Extrapolation, RecoversItsOwnCurves) {
  const std::vector<double> x = {0.02, 0.1, 0.05, 0.07};
  const auto fitted = [&](std::unique_ptr<Extrapolator> curve, auto truth) {
    std::vector<double> y;
    for (const double value : x) y.push_back(truth(value));
    curve->fit(x, y);
    for (const double at : {0.0, 0.03, 0.2}) EXPECT_NEAR(curve->at(at), truth(at), 1e-11) << curve->name();
  };
  fitted(linear_extrapolator(), [](double t) { return 2 - 3 * t; });
  fitted(polynomial_extrapolator(2), [](double t) { return 1 - 3 * t + 4 * t * t; });
  fitted(polynomial_extrapolator(3), [](double t) { return 1 - 3 * t + 4 * t * t - t * t * t; });
  fitted(richardson_extrapolator(), [](double t) { return 1 - 3 * t + 4 * t * t - t * t * t; });
  fitted(richardson_extrapolator(3), [](double t) { return 1 - 3 * t + 4 * t * t; });
  fitted(exponential_extrapolator(), [](double t) { return -0.8 * std::exp(-7 * t); });
}

TEST(Extrapolation, FitsByLeastSquares) {
  // Normal equations of a line by hand: x = 1, 2, 3, y = 1, 3, 4: y = 1.5 x - 1/3.
  auto line = linear_extrapolator();
  line->fit({1, 2, 3}, {1, 3, 4});
  EXPECT_NEAR(line->at(0), -1.0 / 3, 1e-12);
  // A weight of 4 counts as four points.
  auto weighted = linear_extrapolator();
  line->fit({1, 2, 2, 2, 2, 3}, {1, 3, 3, 3, 3, 4});
  weighted->fit({1, 2, 3}, {1, 3, 4}, {2, 1, 2});
  EXPECT_NEAR(weighted->at(0), line->at(0), 1e-12);
}

TEST(Extrapolation, TakesTheSmallestPoints) {
  auto curve = richardson_extrapolator(2);
  curve->fit({3, 1, 2}, {100, 5, 3});
  EXPECT_NEAR(curve->at(0), 7, 1e-12);
}

TEST(Extrapolation, OfExponentialsLeavesOutTheOtherSign) {
  auto curve = exponential_extrapolator();
  curve->fit({1, 2, 3}, {std::exp(-1), std::exp(-2), -0.01});
  EXPECT_NEAR(curve->at(0), 1, 1e-12);
  EXPECT_THAT([&] { curve->fit({1, 2}, {1, -1}); }, ThrowsMessage<Error>(HasSubstr("change their sign")));
}

TEST(Extrapolation, RefusesTooLittle) {
  EXPECT_THAT(
      [] {
        polynomial_extrapolator(2)->fit({1, 2, 2}, {1, 2, 3});
      },
      ThrowsMessage<Error>("quadratic: 2 different noise strengths, expected at least 3"));
  EXPECT_THAT([] { linear_extrapolator()->fit({1, 2}, {1}); }, ThrowsMessage<Error>(HasSubstr("as many of each")));
  EXPECT_THAT([] { linear_extrapolator()->at(0); }, ThrowsMessage<Error>("linear: fit() comes first"));
}

// --- read-out

TEST(Readout, OneQubit) {
  // <Z> -> (1 - e01 - e10) <Z> + e10 - e01
  const double e01 = 0.015, e10 = 0.03, z = 0.4;
  const std::vector<double> read = misread({(1 + z) / 2, (1 - z) / 2}, {{e01, e10}});
  EXPECT_NEAR(read[0] - read[1], (1 - e01 - e10) * z + e10 - e01, 1e-14);
}

TEST(Readout, InversionUndoesIt) {
  const Misread errors = {{0.02, 0.05}, {0.1, 0.2}, {0, 0.3}};
  const std::vector<double> truth = {0.3, 0.1, 0, 0.2, 0, 0.05, 0.35, 0};
  EXPECT_THAT(invert_readout(misread(truth, errors), errors), Pointwise(DoubleNear(1e-14), truth));
  EXPECT_THAT(least_squares_readout(misread(truth, errors), errors), Pointwise(DoubleNear(1e-10), truth));
}

// The optimum on the simplex: no feasible direction to a vertex descends (the conditions of Karush, Kuhn and Tucker).
TEST(Readout, LeastSquaresAreProbabilitiesAndOptimal) {
  const Misread errors = {{0.1, 0.2}, {0.05, 0.15}};
  const std::vector<double> readings = {0.9, 0.01, 0.02, 0.07};
  EXPECT_LT(std::ranges::min(invert_readout(readings, errors)), 0);
  const std::vector<double> found = least_squares_readout(readings, errors);
  EXPECT_GE(std::ranges::min(found), 0);
  EXPECT_NEAR(std::accumulate(found.begin(), found.end(), 0.0), 1, 1e-12);
  const auto distance = [&](const std::vector<double>& p) {
    const std::vector<double> read = misread(p, errors);
    double sum = 0;
    for (size_t i = 0; i < 4; ++i) sum += std::pow(read[i] - readings[i], 2);
    return sum;
  };
  for (size_t vertex = 0; vertex < 4; ++vertex) {
    std::vector<double> moved = found;
    for (double& value : moved) value *= 1 - 1e-4;
    moved[vertex] += 1e-4;
    EXPECT_GE(distance(moved), distance(found) - 1e-13) << vertex;
  }
}

TEST(Readout, IsCalibratedFromReadings) {
  Circuit zeros(2), ones(2);
  ones.x(0).x(1);
  NoiseModel noise;
  noise.readout(0.02, 0.06, 0).readout(0.1, 0.2, 1);
  const auto read = [&](Circuit& circuit) {
    std::vector<uint64_t> samples(100000);
    DensitySimulator<double>(noise.apply(circuit.measure_all()))
        .samples(1, nullptr, nullptr, int64_t(samples.size()), Random(1), samples.data());
    return samples;
  };
  const Misread errors = calibrate_readout(2, read(zeros), read(ones));
  EXPECT_THAT(errors[0], ElementsAre(DoubleNear(0.02, 0.003), DoubleNear(0.06, 0.004)));
  EXPECT_THAT(errors[1], ElementsAre(DoubleNear(0.1, 0.005), DoubleNear(0.2, 0.006)));
}

TEST(Readout, RefusesBadInput) {
  EXPECT_THAT(
      [] {
        invert_readout({1, 0, 0}, {{0, 0}});
      },
      ThrowsMessage<Error>(HasSubstr("3 probabilities for 1 qubits")));
  EXPECT_THAT([] { invert_readout({1, 0}, {{0.5, 0.5}}); }, ThrowsMessage<Error>(HasSubstr("says nothing")));
  EXPECT_THAT([] { misread({1, 0}, {{0.5, 1.5}}); }, ThrowsMessage<Error>(HasSubstr("expected numbers in 0..1")));
}

// --- probabilistic error cancellation

TEST(Cancellation, InverseOfDepolarizingNoise) {
  // Temme et al.: gamma = (1 + eps / 2) / (1 - eps) with complete mixing of weight eps.
  const double p = 0.1;
  const std::vector<double> inverse = inverse_quasi_probabilities(depolarizing(p));
  EXPECT_NEAR(inverse[0], 1 + 3 * p / (4 * (1 - p)), 1e-14);
  for (size_t k = 1; k < 4; ++k) EXPECT_NEAR(inverse[k], -p / (4 * (1 - p)), 1e-14);
  Circuit circuit(1);
  circuit.channel(depolarizing(p), {0}).channel(depolarizing(p), {0});
  EXPECT_NEAR(cancellation_overhead(circuit), std::pow((1 + p / 2) / (1 - p), 2), 1e-12);
}

TEST(Cancellation, IsExactInTheSum) {
  Circuit circuit(2);
  circuit.ry(0, 0.7).cnot(0, 1).rx(1, 0.4);
  NoiseModel noise;
  noise.after_gates_of(1, pauli_channel(std::vector<double>{0.9, 0.05, 0.02, 0.03}))
      .after_gates_of(2, depolarizing(0.1, 2));
  const PauliSum observable = Z(0) * Z(1) + 0.3 * X(0) * X(1) - 0.2 * Y(1);
  const Circuit noisy = noise.apply(circuit);
  const auto run = [&](const Circuit& c) { return noisy_value(c, observable); };
  const double exact = run(circuit);
  EXPECT_GT(std::abs(run(noisy) - exact), 0.05);
  EXPECT_NEAR(cancel_errors_exactly(noisy, run).value, exact, 1e-12);

  // Unbiased: within four standard errors for each seed, and the error is what the overhead says.
  for (uint64_t seed = 0; seed < 3; ++seed) {
    const Cancelled sampled = cancel_errors(noisy, run, 20000, Random(seed));
    EXPECT_NEAR(sampled.value, exact, 4 * sampled.error) << seed;
    EXPECT_GT(sampled.overhead, 1.2);
    EXPECT_LT(sampled.error, sampled.overhead * 1.5 / std::sqrt(20000));
  }
}

TEST(Cancellation, RefusesOtherChannels) {
  EXPECT_THAT([] { inverse_quasi_probabilities(amplitude_damping(0.1)); },
              ThrowsMessage<Error>(HasSubstr("no Pauli channel")));
  EXPECT_THAT([] { inverse_quasi_probabilities(depolarizing(1)); }, ThrowsMessage<Error>(HasSubstr("has no inverse")));
}

}  // namespace
}  // namespace quanta
