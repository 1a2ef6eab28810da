#pragma once

#include <torch/torch.h>

#include "quanta/variational/mitigation.h"

// Zero-noise extrapolation by neural networks, arXiv 2403.07025.

namespace quanta::zne {

/// RY, then RZ on every qubit, then CNOTs along the chain, `depth` times; then RY and RZ once more. 2 n (depth + 1)
/// weights.
Circuit ry_rz_ansatz(int qubits, int depth);
/// Z on every qubit.
PauliSum parity(int qubits);

/// Depolarizing noise p behind every gate, on the qubits it touched; behind RZ only if `noisy_rz`.
NoiseModel depolarizing_everywhere(double p, bool noisy_rz = true);

/// Exact expectation value of a circuit that may hold channels.
double exact_value(const Circuit& circuit, const PauliSum& observable, const std::vector<double>& weights);

struct Sweep {
  std::vector<double> levels, values, sigmas;  ///< sigmas are empty if exact
};
/// The expectation values under depolarizing_everywhere() at each level in (0, 1], each Pauli string with `shots` shots
/// of its own (0: exact) from streams of `random` that no two levels share.
Sweep noise_sweep(const Circuit& circuit, const PauliSum& observable, const std::vector<double>& weights,
                  const std::vector<double>& levels, int64_t shots, const Random& random, bool noisy_rz = true);

/// The emulated processor: amplitude damping, dephasing and depolarizing noise, RY and RZ that turn 1 % too far, and
/// read-out flips. The value of parity() with gates folded by `factor`, from shots (0: exact).
double device_value(const Circuit& circuit, const std::vector<double>& weights, double factor, int64_t shots,
                    Random random);

struct MlpOptions {
  std::vector<int> hidden = {32, 32};
  int epochs = 1500;
  double rate = 0.01;
  double decay = 0.998;  ///< of the rate, each epoch
};

/// Several tanh networks with one output, in double precision, trained side by side on mean squared errors.
class Networks : public torch::nn::Module {
 public:
  /// Weights and biases uniform in +-1/sqrt(inputs of the layer), network m's from random.split(m).
  Networks(int count, int inputs, const MlpOptions& options, const Random& random);
  /// x [networks or 1, samples, inputs] -> [networks, samples].
  torch::Tensor forward(torch::Tensor x);
  /// Full batches: x as above, y [networks, samples].
  void train_on(const torch::Tensor& x, const torch::Tensor& y);

 private:
  int count_;
  MlpOptions options_;
  std::vector<torch::Tensor> weights_, biases_;
};

/// An ensemble of networks of x / max(x); at() is their mean. At least 3 different levels, all above 0.
class MlpExtrapolator : public Extrapolator {
 public:
  MlpExtrapolator(int members, uint64_t seed, MlpOptions options = {})
      : members_(members), seed_(seed), options_(std::move(options)) {}
  std::string name() const override { return "network"; }
  void fit(const std::vector<double>& x, const std::vector<double>& y, const std::vector<double>& = {}) override {
    fit_curves(x, {y});
  }
  double at(double x) const override;

  /// Many curves over the same x at once, each with an ensemble of its own.
  void fit_curves(const std::vector<double>& x, const std::vector<std::vector<double>>& curves);
  /// Every member's value.
  std::vector<double> members_at(double x, size_t curve = 0) const;

  std::shared_ptr<Networks> networks;

 private:
  int members_;
  uint64_t seed_;
  MlpOptions options_;
  double scale_ = 1;
};

}  // namespace quanta::zne
