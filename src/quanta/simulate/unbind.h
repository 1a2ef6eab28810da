#pragma once

#include <functional>
#include <vector>

#include "quanta/circuit/circuit.h"

namespace quanta {

/// A term of a linear rule: the derivative by an angle is the sum of coefficient * f(angle + shift).
struct Shift {
  double shift;
  double coefficient;
};

/// An angle of one gate.
struct GateAngle {
  Angle angle;
  /// The distinct positive differences of its generator's eigenvalues, ascending: expectation values are trigonometric
  /// polynomials of the angle with these frequencies, multiples of the first. {1} for rotations and phases, {1/2, 1}
  /// for controlled rotations; empty for a global phase.
  std::vector<double> frequencies;
  /// d|psi> / d angle as such a sum; exact.
  std::vector<Shift> state_rule;

  /// The general parameter-shift rules for the first and the second derivative (Wierichs, Izaac, Wang and Lin, Quantum
  /// 6, 677 (2022), arXiv 2107.12390, equations 18 and 27): exact, with 2 R and 2 R terms for R frequencies; R = 1 is
  /// the two-term and R = 2 the four-term rule.
  std::vector<Shift> first_derivative() const;
  std::vector<Shift> second_derivative() const;
};

/// A circuit whose every angle that is not constant has become an input of its own, so that each occurrence of a weight
/// can be shifted alone, and a batch can hold any shifts of any weights and inputs.
struct Unbound {
  Circuit circuit;                // without weights; angles[k] is input amplitudes + k
  int amplitudes;                 // so many first inputs are those of the amplitude encoding; else 0
  std::vector<GateAngle> angles;  // in the order of the gates

  explicit Unbound(const Circuit& bound);
};

/// Calls visit(i, d angle / d parameter i) for each parameter the angle names; parameters are the weights, then the
/// inputs: input j is `weights` + j.
void visit_derivatives(const Angle& angle, int weights, const double* weight, const double* input,
                       const std::function<void(int, double)>& visit);
/// Calls visit(i, j, d^2 angle / d i d j) for each ordered pair with a derivative that is not identically zero; a pair
/// may come several times, its values add up.
void visit_second_derivatives(const Angle& angle, int weights, const double* weight, const double* input,
                              const std::function<void(int, int, double)>& visit);

}  // namespace quanta
