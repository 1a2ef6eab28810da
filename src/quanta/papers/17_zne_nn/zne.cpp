#include "quanta/papers/17_zne_nn/zne.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <random>
#include <set>

#include "quanta/core/error.h"
#include "quanta/papers/statistics.h"
#include "quanta/simulate/density.h"

namespace quanta::zne {
namespace {

// The mean of `shots` outcomes +-1 with this expectation value.
double shot_mean(double expectation, int64_t shots, Random& random) {
  std::binomial_distribution<int64_t> ups(shots, std::clamp((1 + expectation) / 2, 0.0, 1.0));
  return 2 * double(ups(random)) / double(shots) - 1;
}

}  // namespace

Circuit ry_rz_ansatz(int qubits, int depth) {
  require(depth >= 0, "ansatz: the depth is {}, expected at least 0", depth);
  Circuit circuit(qubits);
  for (int d = 0; d <= depth; ++d) {
    for (int q = 0; q < qubits; ++q) circuit.ry(q, weight());
    for (int q = 0; q < qubits; ++q) circuit.rz(q, weight());
    if (d < depth) circuit.cnot_chain();
  }
  return circuit;
}

PauliSum parity(int qubits) {
  std::vector<std::pair<int, char>> factors;
  for (int q = 0; q < qubits; ++q) factors.emplace_back(q, 'Z');
  return PauliString(factors);
}

NoiseModel depolarizing_everywhere(double p, bool noisy_rz) {
  require(p >= 0 && p <= 1, "noise: p is {}, expected a number in 0..1", p);
  if (noisy_rz) return NoiseModel::depolarizing(p, p);
  NoiseModel noise;
  noise.after(depolarizing(p), {GateKind::RY}).after_gates_of(2, depolarizing(p, 2));
  return noise;
}

double exact_value(const Circuit& circuit, const PauliSum& observable, const std::vector<double>& weights) {
  double value = 0;
  DensitySimulator<double>(circuit, {observable}).expectations(1, weights.data(), nullptr, &value);
  return value;
}

Sweep noise_sweep(const Circuit& circuit, const PauliSum& observable, const std::vector<double>& weights,
                  const std::vector<double>& levels, int64_t shots, const Random& random, bool noisy_rz) {
  require(circuit.wires() <= 10, "noise sweep: {} qubits, expected at most 10", circuit.wires());
  require(shots >= 0, "noise sweep: {} shots, expected at least 0", shots);
  std::vector<PauliSum> strings;
  for (const auto& term : observable.terms) strings.emplace_back(term.pauli);
  std::vector<double> parts(strings.size());
  Sweep sweep;
  for (size_t i = 0; i < levels.size(); ++i) {
    require(levels[i] > 0, "noise sweep: a level is {}; the noise-free value must not be trained on", levels[i]);
    DensitySimulator<double>(depolarizing_everywhere(levels[i], noisy_rz).apply(circuit), strings)
        .expectations(1, weights.data(), nullptr, parts.data());
    Random stream = random.split(i);
    double value = 0, variance = 0;
    for (size_t k = 0; k < parts.size(); ++k) {
      const double c = observable.terms[k].coefficient;
      const bool random_outcome = shots > 0 && !observable.terms[k].pauli.factors.empty();
      const double mean = random_outcome ? shot_mean(parts[k], shots, stream) : parts[k];
      value += c * mean;
      if (random_outcome) variance += c * c * (1 - mean * mean) / double(shots);
    }
    sweep.levels.push_back(levels[i]);
    sweep.values.push_back(value);
    if (shots > 0) sweep.sigmas.push_back(std::sqrt(variance));
  }
  return sweep;
}

double device_value(const Circuit& circuit, const std::vector<double>& weights, double factor, int64_t shots,
                    Random random) {
  require(factor >= 1 && std::fmod(factor, 2) == 1, "device: the folding factor is {}, expected 1, 3, 5, ...", factor);
  const Circuit folded = fold_gates(circuit, factor);
  Circuit turned(circuit.wires());
  for (Operation operation : folded.operations()) {
    if (operation.kind == GateKind::RY || operation.kind == GateKind::RZ)
      operation.angles[0] = operation.angles[0] * 1.01;
    turned.add(operation);
  }
  NoiseModel noise;
  noise.after_gates_of(1, amplitude_damping(5e-3))
      .after_gates_of(1, phase_damping(5e-3))
      .after_gates_of(1, depolarizing(1e-3))
      .after_gates_of(2, amplitude_damping(1.5e-2))
      .after_gates_of(2, phase_damping(1.5e-2))
      .after_gates_of(2, depolarizing(1e-2, 2))
      .readout(0.015, 0.03);
  turned.measure_all();
  std::vector<double> readings(size_t{1} << circuit.wires());
  DensitySimulator<double>(noise.apply(turned)).readings(1, weights.data(), nullptr, readings.data());
  double value = 0;
  for (size_t i = 0; i < readings.size(); ++i) value += std::popcount(i) % 2 ? -readings[i] : readings[i];
  return shots > 0 ? shot_mean(value, shots, random) : value;
}

Networks::Networks(int count, int inputs, const MlpOptions& options, const Random& random)
    : count_(count), options_(options) {
  require(options.epochs >= 1 && options.rate > 0, "network: {} epochs at rate {}, expected at least 1 and > 0",
          options.epochs, options.rate);
  std::vector<int> widths = {inputs};
  widths.insert(widths.end(), options.hidden.begin(), options.hidden.end());
  widths.push_back(1);
  std::vector<Random> streams;
  for (int m = 0; m < count; ++m) streams.push_back(random.split(uint64_t(m)));
  for (size_t layer = 0; layer + 1 < widths.size(); ++layer) {
    const double bound = 1 / std::sqrt(double(widths[layer]));
    const auto make = [&](const char* name, int rows, int columns) {
      torch::Tensor tensor = torch::empty({count, rows, columns}, torch::kFloat64);
      double* data = tensor.data_ptr<double>();
      for (int m = 0; m < count; ++m)
        for (int i = 0; i < rows * columns; ++i) *data++ = streams[size_t(m)].uniform(-bound, bound);
      return register_parameter(fmt::format("{}{}", name, layer), tensor);
    };
    weights_.push_back(make("weight", widths[layer], widths[layer + 1]));
    biases_.push_back(make("bias", 1, widths[layer + 1]));
  }
}

torch::Tensor Networks::forward(torch::Tensor x) {
  x = x.expand({count_, -1, -1});
  for (size_t layer = 0; layer < weights_.size(); ++layer) {
    x = torch::baddbmm(biases_[layer], x, weights_[layer]);
    if (layer + 1 < weights_.size()) x = torch::tanh(x);
  }
  return x.squeeze(2);
}

void Networks::train_on(const torch::Tensor& x, const torch::Tensor& y) {
  torch::optim::Adam optimizer(parameters(), torch::optim::AdamOptions(options_.rate));
  auto& rate = static_cast<torch::optim::AdamOptions&>(optimizer.param_groups()[0].options());
  for (int epoch = 0; epoch < options_.epochs; ++epoch) {
    rate.lr(options_.rate * std::pow(options_.decay, epoch));
    optimizer.zero_grad();
    // Each network's own error: their sum has each one's gradient.
    (forward(x) - y).square().mean(1).sum().backward();
    optimizer.step();
  }
}

void MlpExtrapolator::fit_curves(const std::vector<double>& x, const std::vector<std::vector<double>>& curves) {
  require(members_ >= 1 && !curves.empty(), "network extrapolation: no members or no curves");
  require(std::set<double>(x.begin(), x.end()).size() >= 3,
          "network extrapolation: expected at least 3 different noise levels, got {} points", x.size());
  for (const double level : x)
    require(level > 0, "network extrapolation: a level is {}; the noise-free value must not be trained on", level);
  scale_ = *std::max_element(x.begin(), x.end());
  const int count = members_ * int(curves.size());
  networks = std::make_shared<Networks>(count, 1, options_, Random(seed_).split("networks"));
  const torch::Tensor inputs = torch::tensor(x, torch::kFloat64).div(scale_).view({1, -1, 1});
  std::vector<torch::Tensor> targets;
  for (const auto& curve : curves) {
    require(curve.size() == x.size(), "network extrapolation: {} values at {} levels", curve.size(), x.size());
    targets.push_back(torch::tensor(curve, torch::kFloat64).expand({members_, -1}));
  }
  networks->train_on(inputs, torch::cat(targets));
}

std::vector<double> MlpExtrapolator::members_at(double x, size_t curve) const {
  require(networks != nullptr, "network: fit() comes first");
  const torch::NoGradGuard no_gradient;
  const torch::Tensor values = networks->forward(torch::full({1, 1, 1}, x / scale_, torch::kFloat64)).contiguous();
  const double* first = values.data_ptr<double>() + curve * size_t(members_);
  return {first, first + members_};
}

double MlpExtrapolator::at(double x) const {
  return mean(members_at(x));
}

}  // namespace quanta::zne
