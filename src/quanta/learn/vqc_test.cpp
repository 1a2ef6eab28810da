#include "quanta/learn/vqc.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <numbers>

#include "quanta/circuit/ansaetze.h"
#include "quanta/circuit/encodings.h"
#include "quanta/learn/metrics.h"
#include "quanta/learn/oracle_data.h"
#include "quanta/simulate/simulator.h"

namespace quanta {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

Circuit angle_map(int qubits = 5) {
  Circuit map(qubits);
  return angle_encoding(map, 'Y', {}, 0, std::numbers::pi);
}

Circuit su2(Entanglement entanglement = Entanglement::Full) {
  Circuit circuit(5);
  return efficient_su2(circuit, 3, entanglement);
}

const Samples kZeros(1, 5);

TEST(Vqc, PublishedCircuitsNumbers) {
  const VariationalQuantumClassifier model(angle_map(), su2());
  EXPECT_EQ(model.parameters(), 40);
  std::vector<double> theta(40);
  EXPECT_NEAR(model.probabilities(kZeros, theta, 2)(0, 1), 0, 1e-15);
  const Samples both(2, 5);
  // y = 1 at probability 0: -ln(1e-12); y = 0 is certain.
  EXPECT_NEAR(model.objective(both, {1, 0}).value(theta), -std::log(1e-12) / 2, 1e-9);
  for (int q = 0; q < 5; ++q) theta[q] = std::numbers::pi / 2;
  EXPECT_NEAR(model.probabilities(kZeros, theta, 2)(0, 1), 0.5, 1e-12);
  for (int k = 0; k < 40; ++k) theta[k] = 0.1 * (k + 1);
  EXPECT_NEAR(model.probabilities(kZeros, theta, 2)(0, 1), 0.47211792, 1e-7);
}

TEST(Vqc, EqualEntanglers) {
  std::vector<double> theta(40, 0.3);
  const OracleData data(2, 5, 0, 5);
  const auto full = VariationalQuantumClassifier(angle_map(), su2()).probabilities(data.x, theta, 2);
  const auto reverse =
      VariationalQuantumClassifier(angle_map(), su2(Entanglement::ReverseLinear)).probabilities(data.x, theta, 2);
  for (size_t i = 0; i < full.values.size(); ++i) EXPECT_NEAR(full.values[i], reverse.values[i], 1e-12);
}

TEST(Vqc, ZzMap) {
  Circuit map(2);
  zz_feature_map(map);
  double probabilities[4];
  const double x[] = {0.3, 0.7};
  Simulator<double>(map).probabilities(1, nullptr, x, probabilities);
  // Given with qubit 0 most significant.
  EXPECT_NEAR(probabilities[0b00], 0.34931314, 1e-8);
  EXPECT_NEAR(probabilities[0b10], 0.25723166, 1e-8);
  EXPECT_NEAR(probabilities[0b01], 0.17262837, 1e-8);
  EXPECT_NEAR(probabilities[0b11], 0.22082682, 1e-8);
}

TEST(Vqc, ProbabilitiesAreTheSimulatorsForAnyMapAndClasses) {
  for (const int qubits : {4, 5})
    for (const int classes : {2, 3, 5}) {
      Circuit map(qubits), ansatz(qubits);
      zz_feature_map(map);
      efficient_su2(ansatz, 2);
      std::vector<double> theta;
      for (int j = 0; j < ansatz.weights(); ++j) theta.push_back(std::sin(1.7 * j));
      const OracleData data(2, 6, 0, qubits);
      Circuit whole(qubits);
      whole.append(map).append(ansatz);
      const int64_t size = 1 << qubits;
      std::vector<double> states(6 * size);
      Simulator<double>(whole).probabilities(6, theta.data(), data.x.values.data(), states.data());
      const Samples p = VariationalQuantumClassifier(map, ansatz).probabilities(data.x, theta, classes);
      for (int i = 0; i < 6; ++i)
        for (int k = 0; k < classes; ++k) {
          double expected = 0;
          for (int64_t s = 0; s < size; ++s)
            if (class_of_state(s, qubits, classes) == k) expected += states[i * size + s];
          EXPECT_NEAR(p(i, k), expected, 1e-12);
        }
    }
}

TEST(Vqc, ClassRules) {
  EXPECT_EQ(class_of_state(0b11100, 5, 2), 1);
  EXPECT_EQ(class_of_state(0b11000, 5, 2), 0);
  EXPECT_EQ(class_of_state(0b1110, 4, 2), 1);
  EXPECT_EQ(class_of_state(0b1100, 4, 2), 0);
  EXPECT_EQ(class_of_state(0b10011, 5, 3), 1);  // 100 | 11
  EXPECT_EQ(class_of_state(0b10010, 5, 3), 2);  // 100 | 10
  EXPECT_EQ(class_of_state(31, 5, 5), 4);
}

/// d loss / d theta from the simulator's adjoint sweep.
TEST(Vqc, ChainRuleIsTheGradientAndTheObjectivesShiftIsNot) {
  const OracleData data(2, 20, 0, 5);
  const VariationalQuantumClassifier model(angle_map(), su2());
  std::vector<double> theta;
  for (int j = 0; j < 40; ++j) theta.push_back(std::sin(2.3 * j));
  const Objective objective = model.objective(data.x, data.y);
  std::vector<double> gradient(40);
  objective.gradient(theta, gradient);

  // The projector on majorities of ones as Pauli strings of Z, by a Walsh transform.
  PauliSum majority;
  for (unsigned mask = 0; mask < 32; ++mask) {
    double coefficient = 0;
    for (unsigned state = 0; state < 32; ++state)
      coefficient += (std::popcount(state) > 2) * (std::popcount(state & mask) % 2 ? -1 : 1) / 32.0;
    PauliSum term = PauliSum(coefficient);
    for (int q = 0; q < 5; ++q)
      if (mask >> q & 1) term = term * Z(q);
    majority = majority + term;
  }
  Circuit whole(5);
  whole.append(angle_map()).append(su2());
  const Simulator<double> simulator(whole, {majority});
  std::vector<double> p(20), upstream(20), expected(40);
  simulator.expectations(20, theta.data(), data.x.values.data(), p.data());
  double loss = 0;
  for (int i = 0; i < 20; ++i) {
    loss -= std::log(data.y[i] ? p[i] : 1 - p[i]) / 20;
    upstream[i] = data.y[i] ? -1 / (20 * p[i]) : 1 / (20 * (1 - p[i]));
  }
  EXPECT_NEAR(objective.value(theta), loss, 1e-10);
  simulator.vjp(20, theta.data(), data.x.values.data(), upstream.data(), expected.data(), nullptr);
  double difference = 0;
  for (int j = 0; j < 40; ++j) {
    EXPECT_NEAR(gradient[j], expected[j], 1e-8);
    std::vector<double> moved(theta);
    moved[j] = theta[j] + std::numbers::pi / 2;
    double shift = objective.value(moved) / 2;
    moved[j] = theta[j] - std::numbers::pi / 2;
    shift -= objective.value(moved) / 2;
    difference = std::max(difference, std::abs(shift - gradient[j]));
  }
  EXPECT_GT(difference, 1e-3);
}

TEST(Vqc, OneQubitObjectiveShift) {
  // L = -ln p, p = sin^2(theta / 2): at pi/2 the gradient is -1, the shift rule on L gives -13.81551.
  Circuit map(1), ansatz(1);
  angle_encoding(map, 'Y', {}, 0, std::numbers::pi);
  ansatz.ry(0, weight());
  const VariationalQuantumClassifier model(map, ansatz);
  Samples x(2, 1);
  x(1, 0) = 1;  // the other way round: class 0, the same loss
  const Objective objective = model.objective(x, {1, 0});
  const double theta = std::numbers::pi / 2;
  const auto value = [&](double at) { return objective.value(std::vector<double>{at}); };
  std::vector<double> gradient(1);
  objective.gradient(std::vector<double>{theta}, gradient);
  EXPECT_NEAR(gradient[0], -1, 1e-10);
  EXPECT_NEAR((value(theta + std::numbers::pi / 2) - value(theta - std::numbers::pi / 2)) / 2, -13.81551, 1e-4);
}

TEST(Vqc, LearnsWithShotsToo) {
  OracleData data(2, 60, 0, 3);
  for (int64_t i = 0; i < 60; ++i)
    for (int64_t j = 0; j < 3; ++j) data.x(i, j) = (data.y[i] ? 0.7 : 0.2) + 0.1 * std::sin(double(i * 3 + j));
  Circuit ansatz(3);
  real_amplitudes(ansatz, 1);
  for (const int64_t shots : {0, 200}) {
    VariationalQuantumClassifier model(angle_map(3), ansatz,
                                       {.optimizer = Cobyla{.max_evaluations = 150}, .shots = shots, .seed = 1});
    model.fit(data.x, data.y);
    EXPECT_GE(accuracy(data.y, model.predict(data.x)), 0.95) << shots;
  }
}

TEST(Vqc, BadInput) {
  EXPECT_THAT([] { VariationalQuantumClassifier(angle_map(4), su2()); }, ThrowsMessage<Error>(HasSubstr("the same")));
  EXPECT_THAT([] { VariationalQuantumClassifier(su2(), su2()); }, ThrowsMessage<Error>(HasSubstr("no weights")));
  VariationalQuantumClassifier model(angle_map(), su2());
  EXPECT_THAT([&] { model.fit(Samples(2, 3), {0, 1}); }, ThrowsMessage<Error>(HasSubstr("takes 5 features")));
}

}  // namespace
}  // namespace quanta
