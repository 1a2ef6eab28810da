#include <algorithm>
#include <cmath>

#include "quanta/core/error.h"
#include "quanta/variational/mitigation.h"

namespace quanta {
namespace {

// values <- (m_{n-1} x ... x m_0) values for 2x2 matrices {m00, m01, m10, m11}.
template <class OfQubit>
void transform(std::vector<double>& values, const Misread& errors, OfQubit matrix) {
  require(errors.size() < 31 && values.size() == size_t{1} << errors.size(),
          "read-out: {} probabilities for {} qubits, expected 2^{}", values.size(), errors.size(), errors.size());
  for (size_t q = 0; q < errors.size(); ++q) {
    const auto& [one_for_zero, zero_for_one] = errors[q];
    require(one_for_zero >= 0 && one_for_zero <= 1 && zero_for_one >= 0 && zero_for_one <= 1,
            "read-out: qubit {} is misread with probabilities {} and {}, expected numbers in 0..1", q, one_for_zero,
            zero_for_one);
    const std::array<double, 4> m = matrix(q, one_for_zero, zero_for_one);
    const size_t bit = size_t{1} << q;
    for (size_t i = 0; i < values.size(); ++i) {
      if (i & bit) continue;
      const double a = values[i], b = values[i | bit];
      values[i] = m[0] * a + m[1] * b;
      values[i | bit] = m[2] * a + m[3] * b;
    }
  }
}

// The nearest probabilities (Michelot, 1986).
void project_on_simplex(std::vector<double>& values) {
  std::vector<double> sorted = values;
  std::ranges::sort(sorted, std::greater<>());
  double sum = 0, level = 0;
  for (size_t k = 0; k < sorted.size(); ++k) {
    sum += sorted[k];
    if (const double candidate = (sum - 1) / double(k + 1); sorted[k] > candidate) level = candidate;
  }
  for (double& value : values) value = std::max(0.0, value - level);
}

}  // namespace

Misread calibrate_readout(int wires, const std::vector<uint64_t>& of_zeros, const std::vector<uint64_t>& of_ones) {
  require(!of_zeros.empty() && !of_ones.empty(), "read-out calibration: no readings of |0...0> or of |1...1>");
  Misread errors(static_cast<size_t>(wires));
  for (int q = 0; q < wires; ++q) {
    const auto is_one = [q](uint64_t bits) { return (bits >> q) & 1; };
    errors[size_t(q)] = {double(std::ranges::count_if(of_zeros, is_one)) / double(of_zeros.size()),
                         1 - double(std::ranges::count_if(of_ones, is_one)) / double(of_ones.size())};
  }
  return errors;
}

std::vector<double> misread(std::vector<double> probabilities, const Misread& errors) {
  transform(probabilities, errors, [](size_t, double up, double down) {
    return std::array{1 - up, down, up, 1 - down};
  });
  return probabilities;
}

std::vector<double> invert_readout(std::vector<double> readings, const Misread& errors) {
  transform(readings, errors, [](size_t q, double up, double down) {
    const double determinant = 1 - up - down;
    require(std::abs(determinant) > 1e-12, "read-out: what is read of qubit {} says nothing about it", q);
    return std::array{(1 - down) / determinant, -down / determinant, -up / determinant, (1 - up) / determinant};
  });
  return readings;
}

std::vector<double> least_squares_readout(const std::vector<double>& readings, const Misread& errors) {
  // Projected gradients with Nesterov's momentum; `bound` is the matrix' largest singular value squared.
  double bound = 1;
  for (const auto& [up, down] : errors) {
    const double frobenius = (1 - up) * (1 - up) + up * up + down * down + (1 - down) * (1 - down);
    const double determinant = 1 - up - down;
    bound *= (frobenius + std::sqrt(std::max(0.0, frobenius * frobenius - 4 * determinant * determinant))) / 2;
  }
  std::vector<double> x = invert_readout(readings, errors);
  project_on_simplex(x);
  std::vector<double> ahead = x;
  double momentum = 1;
  for (int step = 0; step < 10000; ++step) {
    std::vector<double> gradient = misread(ahead, errors);
    for (size_t i = 0; i < gradient.size(); ++i) gradient[i] -= readings[i];
    transform(gradient, errors, [](size_t, double up, double down) { return std::array{1 - up, up, down, 1 - down}; });
    std::vector<double> next = ahead;
    for (size_t i = 0; i < next.size(); ++i) next[i] -= gradient[i] / bound;
    project_on_simplex(next);
    const double after = (1 + std::sqrt(1 + 4 * momentum * momentum)) / 2;
    double change = 0;
    for (size_t i = 0; i < next.size(); ++i) {
      change = std::max(change, std::abs(next[i] - x[i]));
      ahead[i] = next[i] + (momentum - 1) / after * (next[i] - x[i]);
    }
    momentum = after;
    x = std::move(next);
    if (change < 1e-14) break;
  }
  return x;
}

}  // namespace quanta
