#include "quanta/simulate/jets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "quanta/circuit/naive.h"
#include "quanta/circuit/random_circuit.h"
#include "quanta/core/error.h"
#include "quanta/core/parallel.h"
#include "quanta/simulate/simulator.h"

namespace quanta {
namespace {

using naive::random_values;
using testing::HasSubstr;
using testing::ThrowsMessage;
using Values = std::vector<double>;
using Jet = std::vector<Values>;

template <class Real>
std::vector<Real*> pointers(std::vector<std::vector<Real>>& jet) {
  std::vector<Real*> result;
  for (auto& component : jet) result.push_back(component.data());
  return result;
}

template <class Real>
struct Derivatives {
  std::vector<std::vector<Real>> weights, inputs, values;
};

template <class Real>
Derivatives<Real> vjp(const JetSimulator<Real>& simulator, int64_t batch, const Jet& weights, const Jet& inputs,
                      const Jet& upstream) {
  const auto convert = [](const Jet& jet) {
    std::vector<std::vector<Real>> result;
    for (const Values& component : jet) result.emplace_back(component.begin(), component.end());
    return result;
  };
  const auto zeros = [&](int64_t size) {
    return std::vector<std::vector<Real>>(weights.size(), std::vector<Real>(size_t(size), Real(7)));
  };
  Derivatives<Real> d{zeros(simulator.weights()), zeros(batch * simulator.inputs()),
                      zeros(batch * simulator.outputs())};
  auto w = convert(weights), x = convert(inputs), u = convert(upstream);
  simulator.vjp(int(std::bit_width(weights.size())) - 1, batch, pointers(w).data(), pointers(x).data(),
                pointers(u).data(), pointers(d.weights).data(), pointers(d.inputs).data(), pointers(d.values).data());
  return d;
}

template <class A, class B>
double distance(const std::vector<A>& a, const std::vector<B>& b) {
  double largest = a.size() == b.size() ? 0 : INFINITY;
  for (size_t i = 0; i < a.size(); ++i) {
    const double d = std::abs(double(a[i]) - double(b[i]));
    if (!(d <= largest)) largest = std::isnan(d) ? INFINITY : d;
  }
  return largest;
}

/// Component s of the point moved by h along the last direction.
Jet moved(const Jet& jet, double h) {
  const size_t half = jet.size() / 2;
  Jet result(jet.begin(), jet.begin() + half);
  for (size_t s = 0; s < half; ++s)
    for (size_t i = 0; i < result[s].size(); ++i) result[s][i] += h * jet[half + s][i];
  return result;
}

Jet random_jet(int order, size_t size, Random& random) {
  Jet jet;
  for (int s = 0; s < 1 << order; ++s) jet.push_back(random_values(size, random, 1));
  return jet;
}

/// The components of the last direction are central differences along it of what is one order lower; order 0 is
/// Simulator::vjp.
void check(const Circuit& circuit, const std::vector<PauliSum>& observables, int order, int64_t batch, Random& random) {
  const JetSimulator<double> simulator(circuit, observables);
  const Jet w = random_jet(order, size_t(circuit.weights()), random),
            x = random_jet(order, size_t(batch * circuit.inputs()), random),
            u = random_jet(order, size_t(batch) * observables.size(), random);
  const auto d = vjp(simulator, batch, w, x, u);
  if (order == 0) {
    Values dw(w[0].size()), dx(x[0].size()), values(u[0].size());
    Simulator<double>(circuit, observables)
        .vjp(batch, w[0].data(), x[0].data(), u[0].data(), dw.data(), dx.data(), values.data());
    EXPECT_LT(distance(d.weights[0], dw), 1e-11);
    EXPECT_LT(distance(d.inputs[0], dx), 1e-11);
    EXPECT_LT(distance(d.values[0], values), 1e-11);
    return;
  }
  constexpr double h = 1e-5;
  const auto up = vjp(simulator, batch, moved(w, h), moved(x, h), moved(u, h)),
             down = vjp(simulator, batch, moved(w, -h), moved(x, -h), moved(u, -h)),
             here = vjp(simulator, batch, moved(w, 0), moved(x, 0), moved(u, 0));
  const size_t half = w.size() / 2;
  const auto compare = [&](const Jet& jet, const Jet& plus, const Jet& minus, const Jet& middle, const char* what) {
    for (size_t s = 0; s < half; ++s) {
      EXPECT_LT(distance(jet[s], middle[s]), 1e-10) << what << " " << s;
      Values slope;
      double scale = 1;
      for (size_t i = 0; i < plus[s].size(); ++i) {
        slope.push_back((plus[s][i] - minus[s][i]) / (2 * h));
        scale = std::max(scale, std::abs(slope.back()));
      }
      EXPECT_LT(distance(jet[half + s], slope), 1e-7 * scale) << what << " " << (half + s) << " of order " << order;
    }
  };
  compare(d.weights, up.weights, down.weights, here.weights, "weights");
  compare(d.inputs, up.inputs, down.inputs, here.inputs, "inputs");
  compare(d.values, up.values, down.values, here.values, "values");
}

TEST(Jets, RandomCircuits) {
  for (int order = 0; order <= 4; ++order)
    for (int trial = 0; trial < (order < 3 ? 40 : 8); ++trial) {
      Random random(uint64_t(100 * order + trial));
      const int n = 2 + trial % 3;
      check(naive::random_circuit(n, 12, random),
            {naive::random_observable(n, 4, random), naive::random_observable(n, 3, random)}, order, 1 + trial % 2,
            random);
    }
}

TEST(Jets, AmplitudeEncoding) {
  for (int order = 0; order <= 3; ++order) {
    Random random(uint64_t(20 + order));
    Circuit c(3);
    c.amplitude_encoding().ry(0, weight() * input(2)).cnot_ring().u(1, weight(), input(1), 0.3).ccx(0, 1, 2);
    check(c, {Z(0) + X(1) * Y(2), Z(2)}, order, 3, random);
  }
}

TEST(Jets, AllDerivativesOfACosine) {
  Circuit c(1);
  c.ry(0, input(0));
  const JetSimulator<double> simulator(c, {Z(0)});
  for (int order = 0; order <= 4; ++order) {
    Jet w(1 << order), x(1 << order, {0}), u(1 << order, {0});
    x[0] = {0.7};
    u[0] = {1};
    for (int i = 0; i < order; ++i) x[1 << i] = {1};
    const auto d = vjp(simulator, 1, w, x, u);
    EXPECT_NEAR(d.values.back()[0], std::cos(0.7 + order * M_PI / 2), 1e-14);
    EXPECT_NEAR(d.inputs.back()[0], std::cos(0.7 + (order + 1) * M_PI / 2), 1e-14);
  }
}

TEST(Jets, HessianVectorProductsAgreeWithGradients) {
  Random random(31);
  const Circuit c = naive::random_circuit(5, 40, random);
  const std::vector<PauliSum> observables = each('Z', 5);
  const int64_t batch = 17;
  const auto draw = [&](int64_t size) { return random_values(size_t(size), random, 1); };
  const Values w = draw(c.weights()), vw = draw(c.weights()), x = draw(batch * c.inputs()),
               vx = draw(batch * c.inputs()), u = draw(batch * 5);
  const auto gradient = [&](double h) {
    Values mw = w, mx = x, dw(w.size()), dx(x.size());
    for (size_t i = 0; i < w.size(); ++i) mw[i] += h * vw[i];
    for (size_t i = 0; i < x.size(); ++i) mx[i] += h * vx[i];
    Simulator<double>(c, observables).vjp(batch, mw.data(), mx.data(), u.data(), dw.data(), dx.data());
    dw.insert(dw.end(), dx.begin(), dx.end());
    return dw;
  };
  Values dw(w.size()), dx(x.size());
  const JetSimulator<double> simulator(c, observables);
  simulator.hvp(batch, w.data(), x.data(), u.data(), vw.data(), vx.data(), dw.data(), dx.data());
  Values both = dw, expected = gradient(1e-5);
  both.insert(both.end(), dx.begin(), dx.end());
  const Values down = gradient(-1e-5);
  for (size_t i = 0; i < expected.size(); ++i) expected[i] = (expected[i] - down[i]) / 2e-5;
  EXPECT_LT(distance(both, expected), 1e-6);

  // What is not wanted changes nothing.
  Values alone(w.size());
  simulator.hvp(batch, w.data(), x.data(), u.data(), vw.data(), vx.data(), alone.data(), nullptr);
  EXPECT_EQ(alone, dw);
  alone.resize(x.size());
  simulator.hvp(batch, w.data(), x.data(), u.data(), vw.data(), vx.data(), nullptr, alone.data());
  EXPECT_EQ(alone, dx);
  // A null direction is zero.
  Values zero(x.size(), 0), null(w.size());
  simulator.hvp(batch, w.data(), x.data(), u.data(), vw.data(), zero.data(), dw.data(), nullptr);
  simulator.hvp(batch, w.data(), x.data(), u.data(), vw.data(), nullptr, null.data(), nullptr);
  EXPECT_EQ(null, dw);
}

TEST(Jets, FloatThreadsAndSamplesAlone) {
  Random random(33);
  const Circuit c = naive::random_circuit(4, 20, random);
  const std::vector<PauliSum> observables{Z(0) * X(1), Y(2)};
  constexpr int64_t kBatch = 70;
  const Jet w = random_jet(2, size_t(c.weights()), random), x = random_jet(2, size_t(kBatch * c.inputs()), random),
            u = random_jet(2, size_t(kBatch * 2), random);
  const JetSimulator<float> single(c, observables);
  const int before = threads();
  set_threads(1);
  const auto one = vjp(single, kBatch, w, x, u);
  set_threads(4);
  const auto four = vjp(single, kBatch, w, x, u);
  set_threads(before);
  EXPECT_EQ(one.weights, four.weights);
  EXPECT_EQ(one.inputs, four.inputs);
  EXPECT_EQ(one.values, four.values);
  const auto exact = vjp(JetSimulator<double>(c, observables), kBatch, w, x, u);
  for (int s = 0; s < 4; ++s) {
    EXPECT_LT(distance(one.inputs[s], exact.inputs[s]), 2e-3) << s;
    EXPECT_LT(distance(one.values[s], exact.values[s]), 5e-4) << s;
  }
  const auto part = [](const Jet& jet, int64_t b, int64_t width) {
    Jet result;
    for (const Values& v : jet) result.emplace_back(v.begin() + b * width, v.begin() + (b + 1) * width);
    return result;
  };
  const auto alone = vjp(single, 1, w, part(x, 69, c.inputs()), part(u, 69, 2));
  for (int s = 0; s < 4; ++s)
    for (int i = 0; i < c.inputs(); ++i) EXPECT_EQ(alone.inputs[s][i], one.inputs[s][69 * c.inputs() + i]);
}

TEST(Jets, Refuse) {
  Circuit c(1);
  c.ry(0, weight());
  EXPECT_THROW(JetSimulator<double>(c, {Z(1)}), Error);
  const JetSimulator<double> simulator(c, {Z(0)});
  EXPECT_THAT([&] { simulator.vjp(5, 1, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr); },
              ThrowsMessage<Error>(HasSubstr("up to order 5, got 6")));
  EXPECT_THROW(simulator.vjp(0, -1, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr), Error);
  double value = 0, *values[] = {&value};
  EXPECT_THAT(
      [&] { JetSimulator<double>(Circuit(30), {Z(0)}).vjp(0, 1, nullptr, nullptr, nullptr, nullptr, nullptr, values); },
      ThrowsMessage<Error>(HasSubstr("a derivative of order 1 of 30 qubits takes")));
  Circuit measured(1, 1);
  measured.measure(0, 0);
  EXPECT_THAT([&] { JetSimulator<double>(measured, {Z(0)}); }, ThrowsMessage<Error>(HasSubstr("unitary circuits")));
}

}  // namespace
}  // namespace quanta
