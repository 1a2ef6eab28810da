#include "quanta/papers/recipe.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numbers>
#include <numeric>

#include "quanta/circuit/hamiltonians.h"
#include "quanta/core/file.h"
#include "quanta/core/log.h"
#include "quanta/papers/17_zne_nn/zne.h"
#include "quanta/papers/statistics.h"
#include "quanta/report/plot.h"
#include "quanta/simulate/density.h"
#include "quanta/train/checkpoint.h"
#include "quanta/variational/ground_energy.h"
#include "quanta/variational/vqe.h"

// Recipe 17: "Enhancing Quantum Variational Algorithms with Zero Noise Extrapolation via Neural Networks", arXiv
// 2403.07025. See README.md beside this file.

namespace quanta {
namespace {

using zne::MlpExtrapolator;
using zne::noise_sweep;
using zne::Sweep;

constexpr const char* kRaw = "raw";
constexpr const char* kNetwork = "network";

struct Problem {
  Circuit ansatz;
  PauliSum hamiltonian;
};

class Study {
 public:
  Study(const Config& config, const RunContext& context);
  Report run();

 private:
  template <class T>
  T setting(const char* key) const {
    return config_.get<T>(key);
  }
  std::vector<double> optimum(const Problem& problem, uint64_t seed) const;
  std::vector<double> start(const Problem& problem, uint64_t seed) const;
  MlpExtrapolator network(uint64_t seed) const { return {members_, seed, mlp_}; }
  Sweep sweep(const Problem& problem, const std::vector<double>& weights, int64_t shots, const Random& random) const {
    return noise_sweep(problem.ansatz, problem.hamiltonian, weights, levels_, shots, random, noisy_rz_);
  }
  double noisy(const Problem& problem, const std::vector<double>& weights, double p) const {
    return zne::exact_value(zne::depolarizing_everywhere(p, noisy_rz_).apply(problem.ansatz), problem.hamiltonian,
                            weights);
  }
  void check(const std::string& name, bool holds, const std::string& detail) {
    report_.checks.push_back({name, holds, detail});
  }

  void mitigate();
  void exact_curves();
  void device();
  void noisy_vqe();
  void ising();
  void many_circuits();

  const Config& config_;
  const RunContext& context_;
  int circuits_, members_;
  int64_t shots_;
  bool noisy_rz_;
  std::vector<double> levels_;
  zne::MlpOptions mlp_;
  Problem product_;                          // the ansatz with Z on every qubit
  std::vector<std::vector<double>> optima_;  // weights that minimize it, of each circuit
  std::vector<double> ideal_;                // their noise-free values
  std::string csv_ = "circuit,noise,expectation,sigma\n";
  Report report_;
};

Study::Study(const Config& config, const RunContext& context)
    : config_(config),
      context_(context),
      circuits_(setting<int>("circuits")),
      members_(setting<int>("network.members")),
      shots_(setting<int64_t>("shots")),
      noisy_rz_(setting<bool>("noisy_rz")),
      product_{zne::ry_rz_ansatz(setting<int>("qubits"), setting<int>("depth")), zne::parity(setting<int>("qubits"))} {
  const int levels = setting<int>("levels");
  require(levels >= 6, "levels is {}, expected at least 6: the exponential takes so many", levels);
  require(circuits_ >= 1 && setting<int>("repeats") >= 1, "circuits and repeats must be at least 1");
  for (int i = 1; i <= levels; ++i) levels_.push_back(setting<double>("max_noise") * i / levels);
  mlp_.hidden = setting<std::vector<int>>("network.hidden");
  mlp_.epochs = setting<int>("network.epochs");
  mlp_.rate = setting<double>("network.rate");
}

std::vector<double> Study::start(const Problem& problem, uint64_t seed) const {
  Random random = Random(seed).split("start");
  std::vector<double> weights(size_t(problem.ansatz.weights()));
  for (double& value : weights) value = random.uniform(-std::numbers::pi, std::numbers::pi);
  return weights;
}

std::vector<double> Study::optimum(const Problem& problem, uint64_t seed) const {
  return Vqe<>(problem.ansatz, problem.hamiltonian)
      .minimize(Adam{.iterations = setting<int>("vqe.iterations"), .step = setting<double>("vqe.step")},
                start(problem, seed))
      .x;
}

/// R1, R3: sweeps with shots, and every extrapolator on them.
void Study::mitigate() {
  std::vector<std::unique_ptr<Extrapolator>> baselines;
  baselines.push_back(linear_extrapolator());
  baselines.push_back(polynomial_extrapolator(2));
  baselines.push_back(richardson_extrapolator(4));
  baselines.push_back(exponential_extrapolator(6));
  std::vector<std::string> names = {kRaw};
  for (const auto& baseline : baselines) names.push_back(baseline->name());
  names.push_back(kNetwork);

  const int repeats = setting<int>("repeats");
  std::vector<Sweep> sweeps;
  std::vector<std::vector<double>> curves;
  for (int c = 0; c < circuits_; ++c)
    for (int r = 0; r < repeats; ++r) {
      const Random random = Random(context_.seed + uint64_t(c)).split("shots").split(uint64_t(r));
      sweeps.push_back(sweep(product_, optima_[size_t(c)], shots_, random));
      curves.push_back(sweeps.back().values);
      for (size_t i = 0; i < levels_.size(); ++i)
        csv_ += fmt::format("{},{},{},{}\n", c, levels_[i], sweeps.back().values[i],
                            shots_ ? sweeps.back().sigmas[i] : 0.0);
    }
  MlpExtrapolator networks = network(context_.seed);
  networks.fit_curves(levels_, curves);
  save_module(*networks.networks, context_.out / "model.safetensors", {{"model", "extrapolating networks"}});

  // errors[method][circuit]: mean over the repeats.
  std::map<std::string, std::vector<double>> errors;
  for (const auto& name : names) errors[name].resize(size_t(circuits_));
  std::vector<double> spread;
  for (size_t k = 0; k < sweeps.size(); ++k) {
    const size_t c = k / size_t(repeats);
    const auto add = [&](const std::string& name, double value) {
      errors[name][c] += std::abs(value - ideal_[c]) / repeats;
    };
    add(kRaw, sweeps[k].values[0]);
    for (const auto& baseline : baselines) {
      baseline->fit(levels_, sweeps[k].values);
      add(baseline->name(), baseline->at(0));
    }
    const std::vector<double> members = networks.members_at(0, k);
    add(kNetwork, mean(members));
    spread.push_back(standard_deviation(members));
  }

  Table table{.caption = fmt::format("Mean |E - E(0)| over {} repeats, {} shots", repeats, shots_),
              .columns = {"Circuit"}};
  for (const auto& name : names) table.columns.push_back(name);
  for (size_t c = 0; c < size_t(circuits_); ++c) {
    table.rows.push_back({std::to_string(c)});
    for (const auto& name : names) table.rows.back().push_back(fmt::format("{:.4f}", errors[name][c]));
  }
  for (const auto& name : names)
    report_.results.push_back({.name = fmt::format("Error at zero noise, {}", name), .value = mean(errors[name])});
  report_.results.push_back({.name = "Standard deviation within an ensemble", .value = mean(spread)});

  bool raw = true, linear = true;
  std::string details;
  for (size_t c = 0; c < size_t(circuits_); ++c) {
    raw &= errors[kNetwork][c] <= 0.35 * errors[kRaw][c];
    linear &= errors[kNetwork][c] <= 0.30 * errors["linear"][c];
    details += fmt::format("{}{:.4f} against {:.4f} and {:.4f}", c ? "; " : "", errors[kNetwork][c], errors[kRaw][c],
                           errors["linear"][c]);
  }
  check("R1: the network's error is at most 0.35 of the raw one on each circuit", raw, details);
  check("R1: and at most 0.30 of the line's on each circuit", linear, details);
  check("R1: and on the mean at most 1.1 of the quadratic's", mean(errors[kNetwork]) <= 1.1 * mean(errors["quadratic"]),
        fmt::format("{:.4f} against {:.4f}", mean(errors[kNetwork]), mean(errors["quadratic"])));
  const double smallest = *std::ranges::min_element(sweeps[0].levels);
  check("R3: the noise-free value is not among the training data", smallest > 0 && sweeps[0].levels == levels_,
        fmt::format("the smallest noise level is {:.3g}", smallest));

  // The first sweep of the first circuit.
  LinePlot plot{.title = "Energy of a noisy circuit, and what is extrapolated",
                .x = {.label = "depolarizing probability p", .min = 0},
                .y = {.label = "energy"}};
  std::vector<double> grid;
  for (int i = 0; i <= 100; ++i) grid.push_back(levels_.back() * i / 100);
  const auto curve = [&](const std::string& name, auto value) {
    Series series{.name = name, .x = grid, .dashed = true};
    for (const double p : grid) series.y.push_back(value(p));
    plot.series.push_back(series);
  };
  Series measured{.name = fmt::format("measured, band: 2 standard errors of {} shots", shots_),
                  .x = levels_,
                  .y = sweeps[0].values};
  for (size_t i = 0; i < levels_.size() && shots_; ++i) {
    measured.low.push_back(measured.y[i] - 2 * sweeps[0].sigmas[i]);
    measured.high.push_back(measured.y[i] + 2 * sweeps[0].sigmas[i]);
  }
  plot.series.push_back(measured);
  Series band{.name = fmt::format("network, band: 2 standard deviations of {} members", members_), .x = grid};
  for (const double p : grid) {
    const std::vector<double> members = networks.members_at(p);
    band.y.push_back(mean(members));
    band.low.push_back(band.y.back() - 2 * standard_deviation(members));
    band.high.push_back(band.y.back() + 2 * standard_deviation(members));
  }
  plot.series.push_back(band);
  for (const auto& baseline : baselines) {
    if (baseline->name().starts_with("Richardson")) continue;  // leaves the picture beyond its points
    baseline->fit(levels_, sweeps[0].values);
    curve(baseline->name(), [&](double p) { return baseline->at(p); });
  }
  curve("truth", [&](double p) { return noisy(product_, optima_[0], p); });
  BarPlot bars{.title = "Error at zero noise", .groups = names, .y = {.label = "mean |E - E(0)|"}};
  bars.bars.push_back({.name = fmt::format("{} circuits, bars: standard deviation", circuits_)});
  for (const auto& name : names) {
    bars.bars[0].values.push_back(mean(errors[name]));
    bars.bars[0].errors.push_back(standard_deviation(errors[name]));
  }
  report_.sections.push_back({.title = "Extrapolation to zero noise",
                              .text =
                                  "Under depolarizing noise alone the energy is nearly an exponential of the noise, so "
                                  "the exponential fit is the one to beat; the network knows nothing of that.",
                              .tables = {table},
                              .figures = {line_plot(plot, "First circuit, first sweep."), bar_plot(bars)}});
}

/// R2.
void Study::exact_curves() {
  std::vector<std::vector<double>> curves;
  for (const auto& weights : optima_) curves.push_back(sweep(product_, weights, 0, Random(0)).values);
  MlpExtrapolator networks = network(context_.seed + 1000);
  networks.fit_curves(levels_, curves);
  double worst = 0;
  for (size_t c = 0; c < curves.size(); ++c)
    for (const double value : networks.members_at(0, c)) worst = std::max(worst, std::abs(value - ideal_[c]));
  check("R2: without shot noise every network of every circuit is within 0.08", worst <= 0.08,
        fmt::format("the largest error is {:.4f}", worst));
}

/// R4.
void Study::device() {
  const std::vector<double> factors = {1, 3, 5, 7};
  std::vector<std::vector<double>> curves;
  for (size_t c = 0; c < optima_.size(); ++c) {
    const Random random = Random(context_.seed + c).split("device");
    curves.emplace_back();
    for (const double factor : factors)
      curves.back().push_back(
          zne::device_value(product_.ansatz, optima_[c], factor, shots_ ? 4096 : 0, random.split(uint64_t(factor))));
  }
  MlpExtrapolator networks = network(context_.seed + 2000);
  networks.fit_curves(factors, curves);
  Table table{.caption = "Gates folded 1, 3, 5 and 7 times, 4096 shots; the simulator's p gives the device's energy",
              .columns = {"Circuit", "ideal", "device", "mitigated", "discrepancy before", "after", "matching p",
                          "simulated at p"}};
  std::vector<double> before, after;
  for (size_t c = 0; c < optima_.size(); ++c) {
    const double value = mean(networks.members_at(0, c));
    before.push_back(std::abs(curves[c][0] - ideal_[c]));
    after.push_back(std::abs(value - ideal_[c]));
    // |E(p)| falls with p.
    double low = 0, high = 0.5;
    for (int i = 0; i < 30; ++i) {
      const double p = (low + high) / 2;
      (std::abs(noisy(product_, optima_[c], p)) > std::abs(curves[c][0]) ? low : high) = p;
    }
    table.rows.push_back({std::to_string(c), fmt::format("{:.4f}", ideal_[c]), fmt::format("{:.4f}", curves[c][0]),
                          fmt::format("{:.4f}", value), fmt::format("{:.4f}", before.back()),
                          fmt::format("{:.4f}", after.back()), fmt::format("{:.4f}", low),
                          fmt::format("{:.4f}", noisy(product_, optima_[c], low))});
  }
  report_.results.push_back({.name = "Emulated device, error unmitigated", .value = mean(before)});
  report_.results.push_back({.name = "Emulated device, error mitigated", .value = mean(after)});
  check("R4: on the emulated device the mitigated error is at most 0.8 of the other", mean(after) <= 0.8 * mean(before),
        fmt::format("{:.4f} against {:.4f}", mean(after), mean(before)));
  report_.sections.push_back({.title = "Emulated device",
                              .text =
                                  "Damping, dephasing, over-rotation and read-out errors, none of which the networks "
                                  "have seen; the noise is scaled by folding the gates.",
                              .tables = {table}});
}

/// R5.
void Study::noisy_vqe() {
  const double p = setting<double>("vqe.spsa_noise");
  const Problem noisy_problem{zne::depolarizing_everywhere(p, noisy_rz_).apply(product_.ansatz), product_.hamiltonian};
  const Vqe<DensitySimulator<double>> vqe(noisy_problem.ansatz, noisy_problem.hamiltonian);
  Table table{.caption = fmt::format("SPSA under noise, p = {}, every evaluation with {} shots", p, shots_),
              .columns = {"Circuit", "reached", "noise-free optimum under noise", "network at zero noise"}};
  bool reached = true, nearer = true;
  std::vector<std::vector<double>> curves;
  std::vector<double> energies;
  for (size_t c = 0; c < optima_.size(); ++c) {
    const uint64_t seed = context_.seed + c;
    Random random = Random(seed).split("spsa");
    const auto measured = [&](std::span<const double> weights) {
      const double value = vqe.energy(weights);
      return shots_ ? value + random.normal() * std::sqrt(std::max(0.0, 1 - value * value) / double(shots_)) : value;
    };
    const Minimum found =
        minimize(measured, start(product_, seed),
                 Spsa{.iterations = setting<int>("vqe.spsa_iterations"), .a = 0.2, .c = 0.1, .A = 10, .seed = seed});
    energies.push_back(vqe.energy(found.x));
    curves.push_back(sweep(product_, found.x, shots_, Random(seed).split("after spsa")).values);
  }
  MlpExtrapolator networks = network(context_.seed + 3000);
  networks.fit_curves(levels_, curves);
  for (size_t c = 0; c < optima_.size(); ++c) {
    const double target = vqe.energy(optima_[c]), at_zero = mean(networks.members_at(0, c));
    reached &= energies[c] <= target + 0.05 * std::abs(target);
    nearer &= std::abs(at_zero + 1) < std::abs(energies[c] + 1);
    table.rows.push_back({std::to_string(c), fmt::format("{:.4f}", energies[c]), fmt::format("{:.4f}", target),
                          fmt::format("{:.4f}", at_zero)});
  }
  check("R5: SPSA under noise ends at most 5 % above the noise-free optimum on each circuit", reached,
        fmt::format("{:.4f}", fmt::join(energies, ", ")));
  check("R5: and the network's value at zero noise is nearer to -1 on each circuit", nearer, "see the table");
  report_.sections.push_back({.title = "VQE under noise", .tables = {table}});
}

/// R6.
void Study::ising() {
  const int n = product_.ansatz.wires();
  const Problem problem{product_.ansatz, transverse_ising(n)};
  std::vector<std::vector<double>> curves;
  std::vector<double> ideal, raw, mitigated;
  for (size_t c = 0; c < optima_.size(); ++c) {
    const std::vector<double> weights = optimum(problem, context_.seed + c);
    ideal.push_back(noisy(problem, weights, 0));
    curves.push_back(sweep(problem, weights, shots_, Random(context_.seed + c).split("ising")).values);
    raw.push_back(std::abs(curves.back()[0] - ideal.back()));
  }
  MlpExtrapolator networks = network(context_.seed + 4000);
  networks.fit_curves(levels_, curves);
  for (size_t c = 0; c < optima_.size(); ++c) mitigated.push_back(std::abs(mean(networks.members_at(0, c)) - ideal[c]));
  check("R6: for the transverse-field Ising chain the network's error is at most half the raw one",
        mean(mitigated) <= 0.5 * mean(raw), fmt::format("{:.4f} against {:.4f}", mean(mitigated), mean(raw)));
  report_.results.push_back({.name = "Ising chain, exact ground energy", .value = ground_energy(problem.hamiltonian)});
  report_.results.push_back({.name = "Ising chain, lowest energy of VQE", .value = *std::ranges::min_element(ideal)});
  report_.results.push_back({.name = "Ising chain, error raw", .value = mean(raw)});
  report_.results.push_back({.name = "Ising chain, error of the network", .value = mean(mitigated)});
}

/// One network for all circuits: from a circuit's energies at every level to its noise-free one.
void Study::many_circuits() {
  const int train = setting<int>("multi.train"), count = train + setting<int>("multi.test");
  require(train >= 1 && count > train, "multi: train and test must be at least 1");
  const int64_t width = int64_t(levels_.size());
  torch::Tensor x = torch::empty({1, count, width}, torch::kFloat64), y = torch::empty({1, count}, torch::kFloat64);
  // The angles as inputs: all circuits are one batch.
  Circuit circuit(product_.ansatz.wires());
  for (Operation operation : product_.ansatz.operations()) {
    for (Angle& angle : operation.angles) angle = input(angle.weight != Angle::kNone ? angle.weight : angle.offset);
    circuit.add(operation);
  }
  Random random = Random(context_.seed).split("multi");
  std::vector<double> angles(size_t(count) * size_t(circuit.inputs())), values(static_cast<size_t>(count));
  for (double& angle : angles) angle = random.uniform(-std::numbers::pi, std::numbers::pi);
  for (int64_t i = -1; i < width; ++i) {
    DensitySimulator<double>(zne::depolarizing_everywhere(i < 0 ? 0 : levels_[size_t(i)], noisy_rz_).apply(circuit),
                             {product_.hamiltonian})
        .expectations(count, nullptr, angles.data(), values.data());
    Random shots = random.split(uint64_t(i + 1));
    for (int64_t k = 0; k < count; ++k) {
      const double value = values[size_t(k)];
      if (i < 0)
        y[0][k] = value;
      else
        x[0][k][i] =
            shots_ ? value + shots.normal() * std::sqrt(std::max(0.0, 1 - value * value) / double(shots_)) : value;
    }
  }
  zne::Networks network(1, int(width), mlp_, Random(context_.seed).split("multi network"));
  network.train_on(x.slice(1, 0, train), y.slice(1, 0, train));
  const torch::NoGradGuard no_gradient;
  const torch::Tensor truth = y.slice(1, train);
  const auto error = [&](const torch::Tensor& value) { return (value - truth).abs().mean().item<double>(); };
  const double ours = error(network.forward(x.slice(1, train))), raw = error(x.slice(1, train).select(2, 0));
  report_.results.push_back({.name = "Other random circuits, error raw", .value = raw});
  report_.results.push_back({.name = "Other random circuits, error of one network for all", .value = ours});
  check("One network for all circuits mitigates circuits it has not seen", ours < raw,
        fmt::format("{:.4f} against {:.4f} raw", ours, raw));
}

Report Study::run() {
  for (int c = 0; c < circuits_; ++c) {
    optima_.push_back(optimum(product_, context_.seed + uint64_t(c)));
    ideal_.push_back(noisy(product_, optima_.back(), 0));
  }
  report_.results.push_back(
      {.name = "Noise-free energy reached by VQE, worst", .value = *std::ranges::max_element(ideal_)});
  report_.data = {.name = "noisy circuits", .source = "generated", .train = int64_t(levels_.size()) * circuits_};
  mitigate();
  exact_curves();
  device();
  noisy_vqe();
  ising();
  many_circuits();
  write_file(context_.out / "curves.csv", csv_);
  report_.artifacts = {"model.safetensors", "curves.csv"};
  report_.summary =
      "A circuit is optimized without noise and measured at several noise strengths. Small networks learn the curve, "
      "and "
      "their value at zero noise is taken for the noise-free energy. Fixed curves on the same points are the "
      "baselines. "
      "Noise follows every gate, RZ included unless noisy_rz is false.";
  return report_;
}

Report run(const Config& config, const RunContext& context) {
  return Study(config, context).run();
}

}  // namespace

Recipe recipe_17() {
  return {.title = "Zero-noise extrapolation by neural networks (arXiv 2403.07025)",
          .kind = "quantum",
          .seconds = 23,
          .run = run};
}

}  // namespace quanta
