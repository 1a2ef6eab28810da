#pragma once

#include <vector>

#include "quanta/circuit/circuit.h"

/// What the modifiers of OpenQASM 3 (inv, pow, ctrl) do to gates.
namespace quanta::qasm {

/// Operations and the global phases that go with them: they count as soon as the body is controlled.
struct Body {
  std::vector<Operation> operations;
  std::vector<Angle> phases;
};

Operation make_operation(GateKind kind, std::vector<int> wires, std::vector<Angle> angles = {},
                         std::vector<int> controls = {});

void invert(Body& body);

/// Whether a power multiplies the angle: one rotation.
bool is_scalable(const Body& body);
/// The body to a power. One that is no integer takes the principal branch: eigenvalues exp(i a), -pi < a <= pi, become
/// exp(i exponent a). Throws Error for such a power of something with inputs or on more than 6 qubits.
void raise(Body& body, double exponent);

/// Applies the body where all controls are 1 (all 0 if `negated`).
void control(Body& body, const std::vector<int>& controls, bool negated);

/// Largest difference between the matrices of two bodies on `wires` qubits without inputs; `up_to_phase`: after the
/// global phase that makes them closest.
double body_distance(const Body& a, const Body& b, int wires, bool up_to_phase);

/// A unitary of one qubit as e^{i phase} U(theta, phi, lambda).
struct EulerAngles {
  double theta, phi, lambda, phase;
};
EulerAngles euler_angles(const Matrix& unitary);

/// A unitary to a power, on the principal branch.
Matrix matrix_power(const Matrix& unitary, double exponent);

}  // namespace quanta::qasm
