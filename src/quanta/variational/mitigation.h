#pragma once

#include <array>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "quanta/circuit/noise.h"
#include "quanta/core/random.h"

namespace quanta {

// --- zero-noise extrapolation (Temme, Bravyi, Gambetta, arXiv 1612.02058; Giurgica-Tiron et al., arXiv 2005.10921)

/// Circuits that do the same and suffer about `factor` >= 1 times the noise, as every gate stands in them more often.
/// The circuit must be unitary: fold before noise is applied and measurements are appended.
///
/// Each gate G becomes G (G^dagger G)^k; odd factors 1 + 2 k are exact, for others the first gates get one pair more.
Circuit fold_gates(const Circuit& circuit, double factor);
/// The whole circuit C becomes C (C^dagger C)^k, for other factors followed by the inverse of its last gates and those
/// gates.
Circuit fold_circuit(const Circuit& circuit, double factor);

/// A curve through measured values (x: noise strength, y: expectation value, sigma: standard deviation of y, optional).
class Extrapolator {
 public:
  virtual ~Extrapolator() = default;
  virtual std::string name() const = 0;
  virtual void fit(const std::vector<double>& x, const std::vector<double>& y,
                   const std::vector<double>& sigma = {}) = 0;
  virtual double at(double x) const = 0;
};

/// Least squares, weighted with 1 / sigma^2. Throws Error for fewer than degree + 1 different x.
std::unique_ptr<Extrapolator> polynomial_extrapolator(int degree);
std::unique_ptr<Extrapolator> linear_extrapolator();
/// The polynomial through the `points` smallest x (all of them if 0).
std::unique_ptr<Extrapolator> richardson_extrapolator(int points = 0);
/// y = A exp(-B x), a line through log |y| of the `points` smallest x (all of them if 0). If signs differ, only the
/// points with the first one's sign count; fewer than 2 of them throw Error.
std::unique_ptr<Extrapolator> exponential_extrapolator(int points = 0);

// --- read-out errors

/// For each qubit the probabilities to read 1 for a 0, and 0 for a 1.
using Misread = std::vector<std::array<double, 2>>;

/// From readings of circuits that prepare |0...0> and |1...1>.
Misread calibrate_readout(int wires, const std::vector<uint64_t>& of_zeros, const std::vector<uint64_t>& of_ones);
/// The probabilities [2^n] of readings when the outcomes have these.
std::vector<double> misread(std::vector<double> probabilities, const Misread& errors);
/// Its inverse: unbiased, but may be negative. Throws Error if a qubit's two probabilities sum to 1.
std::vector<double> invert_readout(std::vector<double> readings, const Misread& errors);
/// The probabilities, not negative and of sum 1, whose readings are nearest in the squared distance.
std::vector<double> least_squares_readout(const std::vector<double>& readings, const Misread& errors);

// --- probabilistic error cancellation (Temme, Bravyi, Gambetta, arXiv 1612.02058)

/// The inverse of a Pauli channel as a sum of Pauli operations with signed weights of sum 1, indexed as
/// Channel::pauli_probabilities; its overhead is the sum of their absolute values. Throws Error for other channels, and
/// for those that have no inverse.
std::vector<double> inverse_quasi_probabilities(const Channel& channel);

/// The product of the overheads of a circuit's channels: the standard deviation of an estimate grows by this.
double cancellation_overhead(const Circuit& noisy);

/// Gives an expectation value of a circuit.
using Executor = std::function<double(const Circuit&)>;

struct Cancelled {
  double value = 0;
  double error = 0;  ///< standard error; 0 if exact
  double overhead = 1;
};

/// The noise-free expectation value from runs of a circuit whose channels, all Pauli channels, are the noise: behind
/// each stands a Pauli operation drawn from its inverse. Each of `samples` circuits is weighted with its sign and the
/// overhead: unbiased.
Cancelled cancel_errors(const Circuit& noisy, const Executor& run, int64_t samples, Random random);
/// The sum over all choices, of at most 10^6 circuits.
Cancelled cancel_errors_exactly(const Circuit& noisy, const Executor& run);

}  // namespace quanta
