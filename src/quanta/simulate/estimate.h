#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <vector>

#include "quanta/circuit/circuit.h"
#include "quanta/core/random.h"
#include "quanta/simulate/simulator.h"

namespace quanta {

/// Expectation values of one circuit's observables on a batch, exact or estimated: arrays as in
/// Simulator::expectations. `variances` [batch, outputs], if given, receives the variance of each estimate (0 if
/// exact). What is random draws from `random` alone.
template <class Real>
using Estimator = std::function<void(int64_t batch, const Real* weights, const Real* inputs, const Random& random,
                                     Real* values, Real* variances)>;

/// Makes the estimator of a circuit and its observables. This is all that the derivatives of differentiate.h ask of a
/// way to run circuits.
template <class Real>
using Engine = std::function<Estimator<Real>(const Circuit&, const std::vector<PauliSum>&)>;

/// The engine of a simulator with exact expectations(batch, weights, inputs, values), made from circuit, observables
/// and what further arguments it takes.
template <class Real, class Exact = Simulator<Real>, class... Options>
Engine<Real> exact_engine(const Options&... options) {
  return [=](const Circuit& circuit, const std::vector<PauliSum>& observables) -> Estimator<Real> {
    const auto simulator = std::make_shared<const Exact>(circuit, observables, options...);
    const size_t outputs = observables.size();
    return [=](int64_t batch, const Real* weights, const Real* inputs, const Random&, Real* values, Real* variances) {
      simulator->expectations(batch, weights, inputs, values);
      if (variances) std::fill_n(variances, size_t(batch) * outputs, Real(0));
    };
  };
}

/// Estimates from `shots` measurements of the exact state for each group of Pauli strings that can be measured together
/// (equal letters on shared wires; strings join the first group that takes them). Values are unbiased; variances are
/// the sample variances of the means. Throws Error for fewer than 2 shots.
template <class Real>
Engine<Real> shots_engine(int64_t shots);

}  // namespace quanta
