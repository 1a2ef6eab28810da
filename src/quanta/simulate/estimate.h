#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <vector>

#include "quanta/circuit/circuit.h"
#include "quanta/core/random.h"
#include "quanta/simulate/simulator.h"
#include "quanta/simulate/trajectories.h"

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
using EstimatorMaker = std::function<Estimator<Real>(const Circuit&, const std::vector<PauliSum>&)>;

/// The values of a simulator with exact expectations(batch, weights, inputs, values), made from circuit, observables
/// and what further arguments it takes.
template <class Real, class Exact = Simulator<Real>, class... Options>
EstimatorMaker<Real> exact_estimator(const Options&... options) {
  return [=](const Circuit& circuit, const std::vector<PauliSum>& observables) -> Estimator<Real> {
    const auto simulator = std::make_shared<const Exact>(circuit, observables, options...);
    const size_t outputs = observables.size();
    return [=](int64_t batch, const Real* weights, const Real* inputs, const Random&, Real* values, Real* variances) {
      simulator->expectations(batch, weights, inputs, values);
      if (variances) std::fill_n(variances, size_t(batch) * outputs, Real(0));
    };
  };
}

/// Draws basis states [batch, shots], as Simulator::samples.
template <class Real>
using Sampler = std::function<void(int64_t batch, const Real* weights, const Real* inputs, int64_t shots,
                                   const Random& random, uint64_t* samples)>;

/// Estimates from `shots` measurements for each group of Pauli strings that can be measured together (equal letters on
/// shared wires; a string joins the first group that takes it). Values are unbiased; variances are the sample variances
/// of the means. Throws Error for fewer than 2 shots and for more than 64 wires.
template <class Real>
EstimatorMaker<Real> estimator_from_samples(int64_t shots, std::function<Sampler<Real>(const Circuit&)> make);

/// The same from a simulator with samples().
template <class Real, class Sampling = Simulator<Real>, class... Options>
EstimatorMaker<Real> shots_estimator(int64_t shots, const Options&... options) {
  return estimator_from_samples<Real>(shots, [=](const Circuit& circuit) -> Sampler<Real> {
    const auto simulator = std::make_shared<const Sampling>(circuit, std::vector<PauliSum>{}, options...);
    return [simulator](int64_t batch, const Real* weights, const Real* inputs, int64_t shots, const Random& random,
                       uint64_t* samples) { simulator->samples(batch, weights, inputs, shots, random, samples); };
  });
}

/// Means over trajectories, with their variances: for circuits with channels, measurements, resets and conditions.
template <class Real>
EstimatorMaker<Real> trajectories_estimator(const TrajectoryOptions& options = {});

}  // namespace quanta
