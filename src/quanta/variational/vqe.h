#pragma once

#include <memory>

#include "quanta/circuit/pauli.h"
#include "quanta/core/error.h"
#include "quanta/simulate/simulator.h"
#include "quanta/variational/optimizer.h"

namespace quanta {

/// The variational quantum eigensolver (Peruzzo et al., 2014): the weights of a circuit that minimize an observable's
/// expectation value. Engine is anything with Simulator's expectations() and vjp(), as one with noise. The circuit may
/// have no inputs.
///
///   Circuit ansatz(4);
///   uccsd(ansatz, 2);
///   Minimum ground = Vqe<>(ansatz, hydrogen()).minimize(Lbfgs{});
template <class Engine = Simulator<double>>
class Vqe {
 public:
  Vqe(const Circuit& ansatz, const PauliSum& hamiltonian)
      : engine_(std::make_shared<Engine>(ansatz, std::vector<PauliSum>{hamiltonian})) {
    require(ansatz.inputs() == 0, "VQE: the ansatz has {} inputs, expected weights alone", ansatz.inputs());
  }

  double energy(std::span<const double> weights) const { return objective().value(weights); }

  /// The energy with its gradient; it keeps what it needs alive.
  Objective objective() const {
    const auto run = [engine = engine_](std::span<const double> weights) {
      require(int(weights.size()) == engine->weights(), "VQE: got {} weights, the ansatz has {}", weights.size(),
              engine->weights());
      double value = 0;
      engine->expectations(1, weights.data(), nullptr, &value);
      return value;
    };
    const auto derive = [engine = engine_](std::span<const double> weights, std::span<double> gradient) {
      require(int(weights.size()) == engine->weights(), "VQE: got {} weights, the ansatz has {}", weights.size(),
              engine->weights());
      const double one = 1;
      double value = 0;
      engine->vjp(1, weights.data(), nullptr, &one, gradient.data(), nullptr, &value);
      return value;
    };
    return Objective(run, derive);
  }

  /// From all weights 0 unless told.
  Minimum minimize(const Optimizer& optimizer = Lbfgs{}, std::vector<double> start = {},
                   const OptimizerCallback& callback = {}) const {
    if (start.empty()) start.assign(size_t(engine_->weights()), 0);
    return quanta::minimize(objective(), std::move(start), optimizer, callback);
  }

 private:
  std::shared_ptr<const Engine> engine_;
};

}  // namespace quanta
