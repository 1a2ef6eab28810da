#pragma once

#include <memory>
#include <vector>

#include "quanta/simulate/estimate.h"

namespace quanta {

struct DifferentiateOptions {
  enum class Rule {
    ParameterShift,    // exact rules for each gate's angle, summed by the chain rule; exact for amplitudes too
    FiniteDifference,  // central: an error of O(step^2)
    Spsa,              // differences along random directions of +-1: unbiased up to O(step^2)
  };
  Rule rule = Rule::ParameterShift;
  /// Of differences, in the weights' and inputs' own units; 0: the cube root of the precision's epsilon, right for
  /// exact values only (with shots take 0.1 or more).
  double step = 0;
  int directions = 1;  // of Spsa, for each sample; their estimates are averaged
};

/// Derivatives of expectation values from expectation values alone, whatever runs the circuit: state vector, density
/// matrix, trajectories, matrix-product states, or measurements. Real is float or double; all shifted circuits of a
/// call are evaluated as one batch (in parts if it were above 64 MiB).
///
/// Arrays are row-major, as Simulator's. `random` serves estimators that are random and Spsa; equal streams give equal
/// results. PARAMETERS are the weights, then the inputs; P = weights() + inputs().
template <class Real>
class Differentiator {
 public:
  /// Throws Error if a step is negative or not finite or there are no directions, and what the estimator throws.
  Differentiator(const Circuit& circuit, const std::vector<PauliSum>& observables,
                 const EstimatorMaker<Real>& estimator = exact_estimator<Real>(),
                 const DifferentiateOptions& options = {});
  ~Differentiator();
  Differentiator(Differentiator&&) noexcept;
  Differentiator& operator=(Differentiator&&) noexcept;

  int weights() const;
  int inputs() const;
  int outputs() const;

  /// values [batch, outputs].
  void expectations(int64_t batch, const Real* weights, const Real* inputs, Real* values,
                    const Random& random = Random(0)) const;

  /// As Simulator::vjp; what is not wanted (null) is not evaluated.
  void vjp(int64_t batch, const Real* weights, const Real* inputs, const Real* upstream, Real* dweights, Real* dinputs,
           const Random& random = Random(0)) const;

  /// jacobian[b, k, i] = d values[b, k] / d parameter i: [batch, outputs, P]. `errors`, if given: their standard
  /// errors, as far as the estimator's values are random (the choice of Spsa's directions is not counted).
  void jacobian(int64_t batch, const Real* weights, const Real* inputs, Real* jacobian, Real* errors = nullptr,
                const Random& random = Random(0)) const;

  /// hessian[b, i, j] = d^2 sum_k upstream[b, k] values[b, k] / d parameters i and j, by shift rules whatever the
  /// option says: [batch, P, P]. A pair of angles with R and S frequencies takes 4 R S evaluations. Throws Error with
  /// amplitude encoding. `errors` as above, for one output only (else their correlations would be needed).
  void hessian(int64_t batch, const Real* weights, const Real* inputs, const Real* upstream, Real* hessian,
               Real* errors = nullptr, const Random& random = Random(0)) const;

  /// How many circuits the jacobian of one sample runs.
  int64_t evaluations() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace quanta
