#include "quanta/simulate/differentiate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <set>

#include "quanta/circuit/naive.h"
#include "quanta/circuit/noise.h"
#include "quanta/circuit/random_circuit.h"
#include "quanta/core/error.h"
#include "quanta/core/parallel.h"
#include "quanta/simulate/density.h"
#include "quanta/simulate/mps.h"
#include "quanta/simulate/unbind.h"

namespace quanta {
namespace {

using naive::random_values;
using testing::HasSubstr;
using testing::ThrowsMessage;
using Rule = DifferentiateOptions::Rule;
using Values = std::vector<double>;

struct Gradient {
  Values weights, inputs;
};

Gradient adjoint(const Circuit& circuit, const std::vector<PauliSum>& observables, int64_t batch, const Values& weights,
                 const Values& inputs, const Values& upstream) {
  Gradient g{Values(size_t(circuit.weights())), Values(size_t(batch * circuit.inputs()))};
  Simulator<double>(circuit, observables)
      .vjp(batch, weights.data(), inputs.data(), upstream.data(), g.weights.data(), g.inputs.data());
  return g;
}

Gradient by(const Differentiator<double>& differentiator, int64_t batch, const Values& weights, const Values& inputs,
            const Values& upstream, const Random& random = Random(0)) {
  Gradient g{Values(size_t(differentiator.weights())), Values(size_t(batch * differentiator.inputs()))};
  differentiator.vjp(batch, weights.data(), inputs.data(), upstream.data(), g.weights.data(), g.inputs.data(), random);
  return g;
}

double distance(const Values& a, const Values& b) {
  if (a.size() != b.size()) return INFINITY;
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double d = std::abs(a[i] - b[i]);
    if (!(d <= largest)) largest = std::isnan(d) ? INFINITY : d;
  }
  return largest;
}

void expect_close(const Gradient& a, const Gradient& b, double tolerance, const std::string& what) {
  EXPECT_LT(distance(a.weights, b.weights), tolerance) << what << ": weights";
  EXPECT_LT(distance(a.inputs, b.inputs), tolerance) << what << ": inputs";
}

std::vector<GateKind> gates_with_angles() {
  std::vector<GateKind> kinds;
  for (const GateInfo& info : gate_table())
    if (info.angles > 0) kinds.push_back(info.kind);
  return kinds;
}

/// The gate between random states and observables, its angles a product of weight and input and a weight.
Circuit with_gate(GateKind kind, int controls, Random& random) {
  const GateInfo& info = gate_info(kind);
  const int own = info.wires ? info.wires : 2, n = own + controls;
  Circuit c(n);
  for (int q = 0; q < n; ++q) c.ry(q, random.uniform(0.5, 2.5)).rz(q, random.uniform(-3, 3));
  if (n > 1) c.cnot_ring();
  for (int repeat = 0; repeat < 2; ++repeat) {
    Operation operation{.kind = kind, .wires = {}, .angles = {}, .controls = {}, .pauli = {}};
    for (int q = 0; q < own; ++q) operation.wires.push_back(q);
    for (int q = own; q < n; ++q) operation.controls.push_back(q);
    if (kind == GateKind::PauliRotation) {
      operation.wires.clear();
      operation.pauli = PauliString({{0, 'X'}, {1, 'Y'}});
    }
    for (int k = 0; k < info.angles; ++k)
      operation.angles.push_back(repeat ? 1.5 * weight(k) * input(0) + weight(k + 1) : weight(k) + 0.2);
    c.add(operation);
    for (int q = 0; q < n; ++q) c.rx(q, random.uniform(0.5, 2.5));
    if (n > 1) c.cnot_ring();
  }
  return c;
}

class EveryAngle : public testing::TestWithParam<GateKind> {};

TEST_P(EveryAngle, ShiftRulesAreExact) {
  for (int controls = 0; controls <= 2; ++controls) {
    Random random(10 * uint64_t(GetParam()) + uint64_t(controls));
    const Circuit c = with_gate(GetParam(), controls, random);
    const std::vector<PauliSum> observables{naive::random_observable(c.wires(), 5, random),
                                            naive::random_observable(c.wires(), 5, random)};
    const Values w = random_values(size_t(c.weights()), random), x = random_values(2, random),
                 u = random_values(4, random);
    const auto expected = adjoint(c, observables, 2, w, x, u);
    expect_close(by(Differentiator<double>(c, observables), 2, w, x, u), expected, 1e-10,
                 fmt::format("{} controls", controls));
    double size = 0;
    for (const double d : expected.weights) size = std::max(size, std::abs(d));
    EXPECT_GT(size, 1e-2) << "the test has no power";
  }
}

/// The frequencies as the table has them against the eigenvalues' differences of the generator, from the gate's matrix:
/// U(a) for equidistant a, a Fourier transform of its elements gives the eigenvalues with weight.
TEST_P(EveryAngle, FrequenciesAreThoseOfTheMatrix) {
  for (int controls = 0; controls <= 2; ++controls) {
    Random random(5);
    const Circuit c = with_gate(GetParam(), controls, random);
    const size_t angles = size_t(gate_info(GetParam()).angles);
    const Unbound unbound(c);
    const auto operation = *std::ranges::find_if(
        c.operations(), [](const auto& o) { return !o.angles.empty() && !o.angles[0].is_constant(); });
    for (size_t k = 0; k < angles; ++k) {
      Values w = random_values(size_t(c.weights()), random);
      std::vector<Matrix> at;
      constexpr int kPoints = 16;  // over a period of 4 pi
      for (int j = 0; j < kPoints; ++j) {
        w[k] = 4 * M_PI * j / kPoints - 0.2;
        at.push_back(operation.unitary(w.data()));
      }
      std::set<double> differences;
      std::vector<double> eigenvalues;
      for (int f = -4; f <= 4; ++f) {
        double power = 0;
        for (size_t e = 0; e < at[0].data.size(); ++e) {
          Complex sum = 0;
          for (int j = 0; j < kPoints; ++j)
            sum += std::polar(1.0 / kPoints, 2 * M_PI * f * j / kPoints) * at[j].data[e];
          power += std::norm(sum);
        }
        if (power > 1e-20) eigenvalues.push_back(f / 2.0);
      }
      for (const double a : eigenvalues)
        for (const double b : eigenvalues)
          if (a > b) differences.insert(a - b);
      EXPECT_EQ(unbound.angles[k].frequencies, Values(differences.begin(), differences.end())) << controls << " " << k;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Table, EveryAngle, testing::ValuesIn(gates_with_angles()),
                         [](const auto& p) { return std::string(gate_info(p.param).name); });

TEST(Differentiator, RandomCircuitsAgreeWithTheAdjointSweep) {
  for (int trial = 0; trial < 40; ++trial) {
    Random random(uint64_t(500 + trial));
    const Circuit c = naive::random_circuit(3 + trial % 2, 12, random);
    const std::vector<PauliSum> observables{naive::random_observable(c.wires(), 4, random), Z(0)};
    const int64_t batch = 1 + trial % 3;
    const Values w = random_values(size_t(c.weights()), random), x = random_values(size_t(batch * c.inputs()), random),
                 u = random_values(size_t(2 * batch), random);
    const auto expected = adjoint(c, observables, batch, w, x, u);
    double scale = 10;  // inputs up to 3 multiply derivatives
    expect_close(by(Differentiator<double>(c, observables), batch, w, x, u), expected, 1e-11 * scale, "shift");
    expect_close(by(Differentiator<double>(c, observables, exact_estimator<double>(),
                                           {.rule = Rule::FiniteDifference, .step = 1e-5}),
                    batch, w, x, u),
                 expected, 2e-6, "differences");
  }
}

TEST(Differentiator, AmplitudesAreExactToo) {
  Random random(6);
  Circuit c(3);
  c.amplitude_encoding().ry(0, weight()).cnot_ring().crx(2, 0, weight() * input(3)).rz(1, input(0));
  const std::vector<PauliSum> observables{X(0) + Z(1), Y(1) * Z(2)};
  const Values w = random_values(2, random), u = random_values(4, random);
  Values x = random_values(16, random);
  std::fill_n(x.begin(), 8, 0);
  x[2] = -0.7;  // on an axis: a step must not lead to zero
  expect_close(by(Differentiator<double>(c, observables), 2, w, x, u), adjoint(c, observables, 2, w, x, u), 1e-10,
               "amplitudes");
}

TEST(Differentiator, KnowsHowManyCircuitsItRuns) {
  Circuit c(2);
  c.rx(0, weight())
      .crx(0, 1, weight())
      .p(1, weight(0))
      .ry(0, 0.3)
      .add(Operation{.kind = GateKind::PauliRotation, .wires = {}, .angles = {weight()}, .controls = {}, .pauli = {}});
  EXPECT_EQ(Differentiator<double>(c, {Z(0)}).evaluations(), 2 + 4 + 2 + 0);
  EXPECT_EQ(
      Differentiator<double>(c, {Z(0)}, exact_estimator<double>(), {.rule = Rule::FiniteDifference}).evaluations(), 6);
  EXPECT_EQ(
      Differentiator<double>(c, {Z(0)}, exact_estimator<double>(), {.rule = Rule::Spsa, .directions = 5}).evaluations(),
      10);
  Circuit a(2);
  a.amplitude_encoding();
  EXPECT_EQ(Differentiator<double>(a, {Z(0)}).evaluations(), 1 + 2 * 4);
}

TEST(Differentiator, LeavesOutWhatIsNotWanted) {
  Circuit c(2);
  c.rx(0, weight()).crx(0, 1, input(0)).cnot(0, 1);
  int64_t run = 0;
  const EstimatorMaker<double> counting = [&](const Circuit& circuit, const std::vector<PauliSum>& observables) {
    return [&run, inner = exact_estimator<double>()(circuit, observables)](int64_t batch, auto... rest) {
      run += batch;
      inner(batch, rest...);
    };
  };
  const Differentiator<double> d(c, {Z(1)}, counting);
  const Values w{0.3}, x{0.4}, u{1};
  Values dw(1), dx(1);
  d.vjp(1, w.data(), x.data(), u.data(), dw.data(), nullptr);
  EXPECT_EQ(run, 2);
  d.vjp(1, w.data(), x.data(), u.data(), nullptr, dx.data());
  EXPECT_EQ(run, 6);
  d.vjp(1, w.data(), x.data(), u.data(), nullptr, nullptr);
  EXPECT_EQ(run, 6);
}

Circuit small_circuit() {
  Circuit c(2);
  c.ry(0, weight()).ry(1, input(0)).crx(0, 1, weight() * input(0)).cnot(1, 0).rz(0, weight(0)).rx(0, 0.4);
  return c;
}

TEST(Differentiator, SpsaIsUnbiased) {
  const Circuit c = small_circuit();
  const std::vector<PauliSum> observables{Z(0) + 0.5 * X(1), Y(0)};
  const Values w{0.4, 1.1}, x{0.7, -0.4}, u{1, -0.5, 0.3, 2};
  const auto expected = adjoint(c, observables, 2, w, x, u);
  const Differentiator<double> spsa(c, observables, exact_estimator<double>(),
                                    {.rule = Rule::Spsa, .step = 1e-4, .directions = 2});
  constexpr int kSeeds = 2000;
  Values sum(4), squares(4);
  for (int seed = 0; seed < kSeeds; ++seed) {
    const auto g = by(spsa, 2, w, x, u, Random(uint64_t(seed)));
    const Values all{g.weights[0], g.weights[1], g.inputs[0], g.inputs[1]};
    for (int i = 0; i < 4; ++i) {
      sum[i] += all[i];
      squares[i] += all[i] * all[i];
    }
  }
  const Values truth{expected.weights[0], expected.weights[1], expected.inputs[0], expected.inputs[1]};
  for (int i = 0; i < 4; ++i) {
    const double mean = sum[i] / kSeeds, error = std::sqrt((squares[i] / kSeeds - mean * mean) / kSeeds);
    EXPECT_NEAR(mean, truth[i], 4 * error) << i;
    EXPECT_GT(error, 1e-4) << "the directions are not random";
  }
}

TEST(Differentiator, ShotsGiveTheGradientAndItsError) {
  const Circuit c = small_circuit();
  const std::vector<PauliSum> observables{Z(0) + 0.5 * X(1) - 0.3 * Z(0) * Z(1), Y(0)};
  const Values w{0.4, 1.1}, x{0.7};
  const int P = 3;
  Values expected(2 * P);
  Differentiator<double>(c, observables).jacobian(1, w.data(), x.data(), expected.data());
  const Differentiator<double> sampled(c, observables, shots_estimator<double>(200));
  constexpr int kSeeds = 300;
  Values sum(2 * P), squares(2 * P), claimed(2 * P);
  for (int seed = 0; seed < kSeeds; ++seed) {
    Values jacobian(2 * P), errors(2 * P);
    sampled.jacobian(1, w.data(), x.data(), jacobian.data(), errors.data(), Random(uint64_t(seed)));
    for (int i = 0; i < 2 * P; ++i) {
      EXPECT_NEAR(jacobian[i], expected[i], 5 * errors[i] + 1e-12);
      sum[i] += jacobian[i];
      squares[i] += jacobian[i] * jacobian[i];
      claimed[i] += errors[i] * errors[i];
    }
  }
  for (int i = 0; i < 2 * P; ++i) {
    const double mean = sum[i] / kSeeds, variance = squares[i] / kSeeds - mean * mean;
    EXPECT_NEAR(mean, expected[i], 4 * std::sqrt(claimed[i]) / kSeeds + 1e-12);
    // A sample variance of 300 has a relative deviation of sqrt(2 / 300).
    EXPECT_NEAR(variance, claimed[i] / kSeeds, 4.5 * std::sqrt(2.0 / kSeeds) * claimed[i] / kSeeds);
  }
}

TEST(Differentiator, ShotsDoNotDependOnThreads) {
  const Circuit c = small_circuit();
  const Differentiator<double> sampled(c, {Z(0)}, shots_estimator<double>(50));
  const Values w{0.4, 1.1}, x{0.7, 1, 2}, u{1, 1, 1};
  const int before = threads();
  set_threads(1);
  const auto one = by(sampled, 3, w, x, u, Random(3));
  set_threads(4);
  const auto four = by(sampled, 3, w, x, u, Random(3));
  set_threads(before);
  EXPECT_EQ(one.weights, four.weights);
  EXPECT_EQ(one.inputs, four.inputs);
  EXPECT_NE(by(sampled, 3, w, x, u, Random(4)).weights, one.weights);
}

/// Central differences of the adjoint gradient.
Values hessian_by_differences(const Circuit& c, const std::vector<PauliSum>& observables, const Values& w,
                              const Values& x, const Values& u) {
  const size_t W = w.size(), P = W + x.size();
  Values result(P * P);
  constexpr double kStep = 1e-5;
  for (size_t i = 0; i < P; ++i)
    for (const double h : {kStep, -kStep}) {
      Values mw = w, mx = x;
      (i < W ? mw[i] : mx[i - W]) += h;
      const auto g = adjoint(c, observables, 1, mw, mx, u);
      for (size_t j = 0; j < P; ++j) result[i * P + j] += (j < W ? g.weights[j] : g.inputs[j - W]) / (2 * h);
    }
  return result;
}

TEST(Differentiator, HessiansAgreeWithDifferencesOfGradients) {
  for (int trial = 0; trial < 25; ++trial) {
    Random random(uint64_t(900 + trial));
    const Circuit c = naive::random_circuit(3, 9, random);
    const std::vector<PauliSum> observables{naive::random_observable(3, 4, random), Z(0)};
    const Values w = random_values(size_t(c.weights()), random, 1.5),
                 x = random_values(size_t(2 * c.inputs()), random, 1.5), u = random_values(4, random);
    const size_t I = size_t(c.inputs()), P = w.size() + I;
    Values h(2 * P * P);
    Differentiator<double>(c, observables).hessian(2, w.data(), x.data(), u.data(), h.data());
    for (size_t b = 0; b < 2; ++b) {
      const Values expected = hessian_by_differences(c, observables, w, {x.begin() + b * I, x.begin() + (b + 1) * I},
                                                     {u[2 * b], u[2 * b + 1]});
      EXPECT_LT(distance({h.begin() + b * P * P, h.begin() + (b + 1) * P * P}, expected), 1e-6) << trial;
    }
  }
}

TEST(Differentiator, HessianErrorsMatchTheSpread) {
  Circuit c(1);
  c.ry(0, weight(0)).ry(0, weight(0) + weight(1));  // <Z> = cos(2 a + b)
  const Differentiator<double> sampled(c, {Z(0)}, shots_estimator<double>(100));
  const Values w{0.5, 0.4}, u{-2};
  constexpr int kSeeds = 400;
  Values sum(4), squares(4), claimed(4);
  for (int seed = 0; seed < kSeeds; ++seed) {
    Values h(4), errors(4);
    sampled.hessian(1, w.data(), nullptr, u.data(), h.data(), errors.data(), Random(uint64_t(seed)));
    for (int i = 0; i < 4; ++i) {
      sum[i] += h[i];
      squares[i] += h[i] * h[i];
      claimed[i] += errors[i] * errors[i];
    }
  }
  const Values expected{8 * std::cos(1.4), 4 * std::cos(1.4), 4 * std::cos(1.4), 2 * std::cos(1.4)};
  for (int i = 0; i < 4; ++i) {
    const double mean = sum[i] / kSeeds, variance = squares[i] / kSeeds - mean * mean;
    EXPECT_NEAR(mean, expected[i], 4 * std::sqrt(claimed[i]) / kSeeds);
    EXPECT_NEAR(variance, claimed[i] / kSeeds, 4.5 * std::sqrt(2.0 / kSeeds) * claimed[i] / kSeeds);
  }
}

TEST(Differentiator, TrajectoriesGiveNoisyGradients) {
  // Depolarizing shrinks <Z> = cos(w) to 0.7 cos(w); then a controlled rotation where a coin shows 1.
  Circuit c(2, 1);
  c.ry(0, 2 * weight()).channel(depolarizing(0.3), {0});
  c.h(1).measure(1, 0);
  Circuit body(2, 1);
  body.ry(0, weight(1));
  c.when({.first = 0}, body);
  const double a = 2 * 0.4, b = 0.9;
  const Values w{0.4, b}, expected{-2 * 0.7 * (std::sin(a) + std::sin(a + b)) / 2, -0.7 * std::sin(a + b) / 2};
  const Differentiator<double> d(c, {Z(0)}, trajectories_estimator<double>({.trajectories = 4000}));
  Values jacobian(2), errors(2);
  d.jacobian(1, w.data(), nullptr, jacobian.data(), errors.data(), Random(1));
  for (int i = 0; i < 2; ++i) {
    EXPECT_NEAR(jacobian[i], expected[i], 4.5 * errors[i]);
    EXPECT_LT(errors[i], 0.05);
    EXPECT_GT(errors[i], 1e-4);
  }
}

TEST(Differentiator, DensityMatricesAgreeWithTheirAdjoint) {
  Random random(8);
  for (int trial = 0; trial < 5; ++trial) {
    const Circuit c = NoiseModel::depolarizing(0.02, 0.05).apply(naive::random_circuit(3, 10, random));
    const std::vector<PauliSum> observables{naive::random_observable(3, 5, random), Z(1)};
    const Values w = random_values(size_t(c.weights()), random), x = random_values(size_t(2 * c.inputs()), random),
                 u = random_values(4, random);
    Gradient expected{Values(w.size()), Values(x.size())};
    DensitySimulator<double>(c, observables)
        .vjp(2, w.data(), x.data(), u.data(), expected.weights.data(), expected.inputs.data());
    expect_close(
        by(Differentiator<double>(c, observables, exact_estimator<double, DensitySimulator<double>>()), 2, w, x, u),
        expected, 1e-10, "density");
  }
}

TEST(Differentiator, MatrixProductStates) {
  Random random(7);
  const Circuit c = naive::random_circuit(4, 14, random);
  const std::vector<PauliSum> observables{naive::random_observable(4, 5, random)};
  const Values w = random_values(size_t(c.weights()), random), x = random_values(size_t(c.inputs()), random), u{1};
  expect_close(by(Differentiator<double>(c, observables, exact_estimator<double, MpsSimulator<double>>()), 1, w, x, u),
               adjoint(c, observables, 1, w, x, u), 1e-9, "mps");
}

TEST(Differentiator, Float32) {
  const Circuit c = small_circuit();
  const std::vector<float> w{0.4f, 1.1f}, x{0.7f}, u{1};
  std::vector<float> dw(2), dx(1);
  const auto expected = adjoint(c, {Z(0)}, 1, {0.4, 1.1}, {0.7}, {1});
  for (const Rule rule : {Rule::ParameterShift, Rule::FiniteDifference}) {
    Differentiator<float>(c, {Z(0)}, exact_estimator<float>(), {.rule = rule})
        .vjp(1, w.data(), x.data(), u.data(), dw.data(), dx.data());
    const double tolerance = rule == Rule::ParameterShift ? 1e-5 : 5e-4;
    EXPECT_NEAR(dw[0], expected.weights[0], tolerance);
    EXPECT_NEAR(dw[1], expected.weights[1], tolerance);
    EXPECT_NEAR(dx[0], expected.inputs[0], tolerance);
  }
}

TEST(Differentiator, Refuses) {
  const Circuit c = small_circuit();
  EXPECT_THAT([&] { Differentiator<double>(c, {Z(0)}, exact_estimator<double>(), {.step = -1}); },
              ThrowsMessage<Error>(HasSubstr("step must be positive, got -1")));
  EXPECT_THAT([&] { Differentiator<double>(c, {Z(0)}, exact_estimator<double>(), {.directions = 0}); },
              ThrowsMessage<Error>(HasSubstr("at least 1 direction")));
  EXPECT_THAT([&] { shots_estimator<double>(1); }, ThrowsMessage<Error>(HasSubstr("at least 2 shots, got 1")));
  EXPECT_THROW(Differentiator<double>(c, {Z(2)}), Error);
  EXPECT_THROW(Differentiator<double>(c, {Z(2)}, shots_estimator<double>(5)), Error);
  EXPECT_THROW(Differentiator<double>(c, {Z(0)}).vjp(-1, nullptr, nullptr, nullptr, nullptr, nullptr), Error);
  Circuit a(1);
  a.amplitude_encoding();
  EXPECT_THAT([&] { Differentiator<double>(a, {Z(0)}).hessian(1, nullptr, nullptr, nullptr, nullptr); },
              ThrowsMessage<Error>(HasSubstr("amplitude encoding")));
}

}  // namespace
}  // namespace quanta
