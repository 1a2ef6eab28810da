#include <bit>
#include <cmath>
#include <map>

#include "quanta/core/error.h"
#include "quanta/variational/mitigation.h"

namespace quanta {
namespace {

// Whether the Pauli strings with these base-4 digits (I, X, Y, Z) anticommute.
bool anticommute(size_t a, size_t b) {
  bool odd = false;
  for (; a && b; a >>= 2, b >>= 2) odd ^= (a & 3) && (b & 3) && (a & 3) != (b & 3);
  return odd;
}

// The channels of a circuit with their inverses.
struct Inverses {
  std::vector<std::vector<double>> weights;
  double overhead = 1;

  explicit Inverses(const Circuit& circuit) {
    for (const Operation& operation : circuit.operations()) {
      if (operation.kind != GateKind::Channel) continue;
      require(operation.conditions.empty(), "error cancellation: a channel is under a condition");
      weights.push_back(inverse_quasi_probabilities(*operation.channel));
      double sum = 0;
      for (const double weight : weights.back()) sum += std::abs(weight);
      overhead *= sum;
    }
  }
};

// The circuit with the chosen Pauli operation behind each channel.
Circuit with_paulis(const Circuit& noisy, const std::vector<size_t>& choice) {
  Circuit result(noisy.wires());
  for (const ClassicalRegister& bits : noisy.registers()) result.add_register(bits.name, bits.size);
  size_t channel = 0;
  for (const Operation& operation : noisy.operations()) {
    result.add(operation);
    if (operation.kind != GateKind::Channel) continue;
    size_t digits = choice[channel++];
    for (const int wire : operation.wires) {
      constexpr GateKind kPaulis[] = {GateKind::I, GateKind::X, GateKind::Y, GateKind::Z};
      if (digits & 3) result.add(kPaulis[digits & 3], {wire});
      digits >>= 2;
    }
  }
  return result;
}

}  // namespace

std::vector<double> inverse_quasi_probabilities(const Channel& channel) {
  const std::vector<double>& p = channel.pauli_probabilities();
  require(!p.empty(), "error cancellation: the channel {} is no Pauli channel", channel.name());
  // Pauli channels are diagonal on Pauli strings, by a Walsh-Hadamard transform of the probabilities.
  std::vector<double> inverse(p.size());
  for (size_t a = 0; a < p.size(); ++a) {
    double shrink = 0;
    for (size_t b = 0; b < p.size(); ++b) shrink += anticommute(a, b) ? -p[b] : p[b];
    require(std::abs(shrink) > 1e-12, "error cancellation: the channel {} has no inverse", channel.name());
    for (size_t b = 0; b < p.size(); ++b) inverse[b] += (anticommute(a, b) ? -1 : 1) / shrink / double(p.size());
  }
  return inverse;
}

double cancellation_overhead(const Circuit& noisy) {
  return Inverses(noisy).overhead;
}

Cancelled cancel_errors(const Circuit& noisy, const Executor& run, int64_t samples, Random random) {
  require(samples >= 2, "error cancellation: {} samples, expected at least 2", samples);
  const Inverses inverses(noisy);
  // Equal draws are run together.
  std::map<std::vector<size_t>, int64_t> draws;
  std::vector<size_t> choice(inverses.weights.size());
  for (int64_t s = 0; s < samples; ++s) {
    for (size_t k = 0; k < choice.size(); ++k) {
      const auto& weights = inverses.weights[k];
      double sum = 0;
      for (const double weight : weights) sum += std::abs(weight);
      double left = random.uniform() * sum;
      for (choice[k] = 0; choice[k] + 1 < weights.size(); ++choice[k])
        if ((left -= std::abs(weights[choice[k]])) < 0) break;
    }
    ++draws[choice];
  }
  double sum = 0, squares = 0;
  for (const auto& [drawn, count] : draws) {
    double value = inverses.overhead * run(with_paulis(noisy, drawn));
    for (size_t k = 0; k < drawn.size(); ++k)
      if (inverses.weights[k][drawn[k]] < 0) value = -value;
    sum += double(count) * value;
    squares += double(count) * value * value;
  }
  const double mean = sum / double(samples);
  const double variance = std::max(0.0, squares / double(samples) - mean * mean);
  return {mean, std::sqrt(variance / double(samples - 1)), inverses.overhead};
}

Cancelled cancel_errors_exactly(const Circuit& noisy, const Executor& run) {
  const Inverses inverses(noisy);
  double circuits = 1;
  for (const auto& weights : inverses.weights) circuits *= double(weights.size());
  require(circuits <= 1e6, "error cancellation: {:.3g} circuits to sum over, expected at most 1e6; draw samples",
          circuits);
  std::vector<size_t> choice(inverses.weights.size());
  double sum = 0;
  for (;;) {
    double weight = 1;
    for (size_t k = 0; k < choice.size(); ++k) weight *= inverses.weights[k][choice[k]];
    if (weight != 0) sum += weight * run(with_paulis(noisy, choice));
    size_t k = 0;
    while (k < choice.size() && ++choice[k] == inverses.weights[k].size()) choice[k++] = 0;
    if (k == choice.size()) return {sum, 0, inverses.overhead};
  }
}

}  // namespace quanta
