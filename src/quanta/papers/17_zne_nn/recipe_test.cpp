#include <gmock/gmock.h>

#include <numeric>

#include "quanta/papers/17_zne_nn/zne.h"
#include "quanta/papers/recipe.h"
#include "quanta/simulate/density.h"

namespace quanta::zne {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

double energy(int qubits, int depth, const std::vector<double>& weights, double p) {
  return exact_value(depolarizing_everywhere(p).apply(ry_rz_ansatz(qubits, depth)), parity(qubits), weights);
}

TEST(Zne, DepolarizingNoiseHasItsClosedForm) {
  EXPECT_NEAR(energy(1, 0, {0.7, 0.3}, 0.1), 0.6195221717004358, 1e-12);
  EXPECT_NEAR(energy(2, 0, {0.3, 0.8, 0.1, 0.2}, 0.1), 0.4366931670617974, 1e-12);
}

TEST(Zne, TwoQubitsAtDepthOne) {
  std::vector<double> theta(8);
  for (int k = 0; k < 8; ++k) theta[size_t(k)] = 0.3 * (k + 1);
  for (const auto& [p, value] : {std::pair(0.0, 0.12410687788435598),
                                 {0.01, 0.11643757710191427},
                                 {0.05, 0.08946514783555423},
                                 {0.1, 0.06309265200986444},
                                 {0.2, 0.02912813118282337},
                                 {1.0, 0.0}})
    EXPECT_NEAR(energy(2, 1, theta, p), value, 1e-12) << p;

  // Nine gates: a polynomial of degree nine at most.
  std::vector<double> x, y;
  for (int i = 1; i <= 10; ++i) x.push_back(i / 11.0), y.push_back(energy(2, 1, theta, i / 11.0));
  auto curve = richardson_extrapolator();
  curve->fit(x, y);
  EXPECT_NEAR(curve->at(0.37), energy(2, 1, theta, 0.37), 1e-10);

  // The shift rule holds under noise and agrees with the sweep backwards.
  for (const double p : {0.0, 0.07}) {
    std::vector<double> gradient(8);
    const double one = 1;
    DensitySimulator<double>(depolarizing_everywhere(p).apply(ry_rz_ansatz(2, 1)), {parity(2)})
        .vjp(1, theta.data(), nullptr, &one, gradient.data(), nullptr);
    for (size_t k = 0; k < 8; ++k) {
      std::vector<double> plus = theta, minus = theta;
      plus[k] += M_PI / 2, minus[k] -= M_PI / 2;
      EXPECT_NEAR(gradient[k], (energy(2, 1, plus, p) - energy(2, 1, minus, p)) / 2, 1e-10);
    }
  }
}

TEST(Zne, SweepsHaveTheShotNoiseTheySay) {
  const Circuit circuit = ry_rz_ansatz(1, 0);
  const std::vector<double> weights = {0.7, 0.3};
  const double exact = noise_sweep(circuit, Z(0), weights, {0.1}, 0, Random(0)).values[0];
  EXPECT_NEAR(exact, 0.6195221717004358, 1e-12);
  double square = 0, sigma = 0;
  for (uint64_t seed = 0; seed < 400; ++seed) {
    const Sweep sweep = noise_sweep(circuit, Z(0), weights, {0.1}, 1000, Random(seed));
    square += std::pow(sweep.values[0] - exact, 2) / 400;
    sigma = sweep.sigmas[0];
  }
  EXPECT_NEAR(std::sqrt(square) / sigma, 1, 0.15);  // four standard deviations of the ratio
  // The levels' streams differ.
  const Sweep twice = noise_sweep(circuit, Z(0), weights, {0.1, 0.1}, 1000, Random(3));
  EXPECT_NE(twice.values[0], twice.values[1]);
}

TEST(Zne, TheNetworkExtrapolates) {
  std::vector<double> x, y;
  for (int i = 1; i <= 10; ++i) x.push_back(0.01 * i), y.push_back(-std::exp(-0.08 * i));
  MlpExtrapolator network(5, 0);
  network.fit_curves(x, {y, std::vector<double>(10, 0.4)});
  for (const double value : network.members_at(0, 0)) EXPECT_NEAR(value, -1, 0.05);
  for (const double value : network.members_at(0, 1)) EXPECT_NEAR(value, 0.4, 1e-3);
}

TEST(Zne, RefusesWhatItsMethodForbids) {
  const Circuit circuit = ry_rz_ansatz(1, 0);
  EXPECT_THAT(
      [&] {
        noise_sweep(circuit, Z(0), {0, 0}, {0.0, 0.1}, 0, Random(0));
      },
      ThrowsMessage<Error>(HasSubstr("must not be trained on")));
  EXPECT_THAT(
      [] {
        MlpExtrapolator(1, 0).fit({0, 0.1, 0.2}, {1, 1, 1});
      },
      ThrowsMessage<Error>(HasSubstr("must not be trained on")));
  EXPECT_THAT([] { MlpExtrapolator(1, 0).fit({0.1, 0.2}, {1, 1}); }, ThrowsMessage<Error>(HasSubstr("at least 3")));
  EXPECT_THAT([] { depolarizing_everywhere(1.5); }, ThrowsMessage<Error>(HasSubstr("p is 1.5")));
  EXPECT_THAT([&] { device_value(circuit, {0, 0}, 2, 0, Random(0)); }, ThrowsMessage<Error>(HasSubstr("1, 3, 5")));
}

TEST(Recipe17, WritesAWholeReport) {
  RunContext context;
  context.out = std::filesystem::path(testing::TempDir()) / "recipe17";
  const Recipe& recipe = find_recipe("17");
  const Report report = run_recipe(recipe,
                                   recipe_config(recipe, false,
                                                 {"qubits=2", "depth=1", "circuits=1", "levels=6", "repeats=1",
                                                  "vqe.iterations=20", "vqe.spsa_iterations=5", "network.epochs=30",
                                                  "network.members=2", "multi.train=20", "multi.test=10"}),
                                   context);
  for (const auto& name : report.artifacts) EXPECT_TRUE(std::filesystem::exists(context.out / name)) << name;
  EXPECT_GE(report.checks.size(), 8u);
  EXPECT_FALSE(report.sections.empty());
  std::filesystem::remove_all(context.out);
}

}  // namespace
}  // namespace quanta::zne
