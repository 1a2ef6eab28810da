#include "quanta/circuit/qasm_body.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "quanta/core/error.h"

namespace quanta::qasm {
namespace {

constexpr double kPi = std::numbers::pi;
constexpr int kMaxPowerWires = 6;

bool is_rotation(GateKind kind) {
  switch (kind) {
    case GateKind::RX:
    case GateKind::RY:
    case GateKind::RZ:
    case GateKind::P:
    case GateKind::RXX:
    case GateKind::RYY:
    case GateKind::RZZ:
    case GateKind::CRX:
    case GateKind::CRY:
    case GateKind::CRZ:
    case GateKind::CP:
    case GateKind::PauliRotation:
      return true;
    default:
      return false;
  }
}

std::vector<int> wires_of(const Body& body) {
  std::vector<int> wires;
  for (const Operation& operation : body.operations)
    for (const int q : operation.all_wires()) wires.push_back(q);
  std::ranges::sort(wires);
  wires.erase(std::unique(wires.begin(), wires.end()), wires.end());
  return wires;
}

// The body on wires 0, 1, ... in place of `wires` (sorted).
Circuit compact(const Body& body, const std::vector<int>& wires) {
  Circuit circuit(std::max(1, int(wires.size())));
  const auto local = [&](int q) { return int(std::ranges::lower_bound(wires, q) - wires.begin()); };
  for (Operation operation : body.operations) {
    for (int& q : operation.wires) q = local(q);
    for (int& q : operation.controls) q = local(q);
    for (auto& [q, letter] : operation.pauli.factors) q = local(q);
    circuit.add(std::move(operation));
  }
  return circuit;
}

double total_phase(const Body& body) {
  double sum = 0;
  for (const Angle& phase : body.phases) {
    require(phase.is_constant(), "a power that is no integer of a gate that depends on an input is not supported");
    sum += phase.constant;
  }
  return sum;
}

// Eigenvectors (columns) of a Hermitian matrix by Jacobi's method.
Matrix eigenvectors(Matrix h) {
  const int n = h.dim;
  Matrix v = Matrix::identity(n);
  for (int sweep = 0; sweep < 60; ++sweep) {
    double off = 0;
    for (int p = 0; p < n; ++p) {
      for (int q = p + 1; q < n; ++q) {
        const double size = std::abs(h(p, q));
        off = std::max(off, size);
        if (size < 1e-300) continue;
        const Complex phase = h(p, q) / size;
        const double t = 0.5 * std::atan2(2 * size, h(q, q).real() - h(p, p).real());
        const double c = std::cos(t), s = std::sin(t);
        const auto rotate = [&](Complex& x, Complex& y, Complex w) {  // columns p and q
          const Complex a = x, b = y;
          x = c * a - s * std::conj(w) * b;
          y = s * w * a + c * b;
        };
        for (int i = 0; i < n; ++i) rotate(h(i, p), h(i, q), phase);
        for (int i = 0; i < n; ++i) rotate(v(i, p), v(i, q), phase);
        for (int i = 0; i < n; ++i) rotate(h(p, i), h(q, i), std::conj(phase));
      }
    }
    if (off < 1e-15) break;
  }
  return v;
}

}  // namespace

Operation make_operation(GateKind kind, std::vector<int> wires, std::vector<Angle> angles, std::vector<int> controls) {
  return {.kind = kind,
          .wires = std::move(wires),
          .angles = std::move(angles),
          .controls = std::move(controls),
          .pauli = {}};
}

void invert(Body& body) {
  std::vector<int> wires = wires_of(body);
  Body plain;  // without ISWAP, whose inverse is no gate of the table
  for (const Operation& operation : body.operations) {
    if (operation.kind == GateKind::ISWAP) {
      for (const GateKind kind : {GateKind::RXX, GateKind::RYY})
        plain.operations.push_back(make_operation(kind, operation.wires, {-kPi / 2}, operation.controls));
    } else {
      plain.operations.push_back(operation);
    }
  }
  const Circuit inverse = compact(plain, wires).inverse();
  body.operations = inverse.operations();
  for (Operation& operation : body.operations) {
    for (int& q : operation.wires) q = wires[q];
    for (int& q : operation.controls) q = wires[q];
    for (auto& [q, letter] : operation.pauli.factors) q = wires[q];
  }
  for (Angle& phase : body.phases) phase = -phase;
}

bool is_scalable(const Body& body) {
  return body.operations.empty() || (body.operations.size() == 1 && is_rotation(body.operations[0].kind));
}

void raise(Body& body, double exponent) {
  if (exponent == std::trunc(exponent)) {
    if (is_scalable(body)) {
      for (Operation& operation : body.operations) operation.angles[0] = exponent * operation.angles[0];
    } else {
      if (exponent < 0) invert(body);
      const std::vector<Operation> once = body.operations;
      body.operations.clear();
      for (double k = 0; k < std::abs(exponent); ++k)
        body.operations.insert(body.operations.end(), once.begin(), once.end());
      if (exponent < 0) exponent = -exponent;
    }
    for (Angle& phase : body.phases) phase = exponent * phase;
    return;
  }

  const double phase = total_phase(body);
  std::erase_if(body.operations, [](const Operation& operation) { return operation.kind == GateKind::Barrier; });
  for (const Operation& operation : body.operations)
    for (const Angle& angle : operation.angles)
      require(angle.is_constant(), "a power that is no integer of a gate that depends on an input is not supported");

  // A controlled gate's power is its power, controlled.
  std::vector<int> controls;
  if (body.operations.size() == 1 && phase == 0) {
    Operation& only = body.operations[0];
    controls = std::exchange(only.controls, {});
    const GateInfo& info = gate_info(only.kind);
    controls.insert(controls.end(), only.wires.begin(), only.wires.begin() + info.controls);
    only.wires.erase(only.wires.begin(), only.wires.begin() + info.controls);
    if (only.kind == GateKind::CU) {
      body.phases = {only.angles.back()};
      only.angles.pop_back();
    }
    only.kind = info.base;
    const bool is_phase = only.kind == GateKind::P;
    if (body.phases.empty() && is_rotation(only.kind) &&
        std::abs(only.angles[0].constant) < (is_phase ? kPi : 2 * kPi)) {
      only.angles[0] = exponent * only.angles[0];
      if (!controls.empty()) control(body, controls, false);
      return;
    }
  }
  const std::vector<int> wires = wires_of(body);
  require(int(wires.size()) <= kMaxPowerWires,
          "a power that is no integer of a gate on {} qubits is not supported, expected at most {}", wires.size(),
          kMaxPowerWires);
  Matrix matrix = compact(body, wires).matrix();
  for (Complex& element : matrix.data) element *= std::polar(1.0, total_phase(body));
  matrix = matrix_power(matrix, exponent);
  body = {};
  if (wires.size() == 1) {
    const EulerAngles angles = euler_angles(matrix);
    body.operations.push_back(make_operation(GateKind::U, wires, {angles.theta, angles.phi, angles.lambda}));
    body.phases = {angles.phase};
  } else if (wires.empty()) {
    body.phases = {std::arg(matrix(0, 0))};
  } else {
    Operation operation = make_operation(GateKind::Unitary, wires);
    operation.matrix = std::make_shared<const Matrix>(std::move(matrix));
    body.operations.push_back(std::move(operation));
  }
  if (!controls.empty()) control(body, controls, false);
}

void control(Body& body, const std::vector<int>& controls, bool negated) {
  std::vector<Operation> flips;
  if (negated)
    for (const int q : controls) flips.push_back(make_operation(GateKind::X, {q}));
  std::vector<Operation> result = flips;
  for (Operation& operation : body.operations) {
    if (operation.kind != GateKind::Barrier)
      operation.controls.insert(operation.controls.begin(), controls.begin(), controls.end());
    result.push_back(std::move(operation));
  }
  double constant = 0;
  const auto add_phase = [&](const Angle& phase) {
    result.push_back(make_operation(GateKind::P, {controls[0]}, {phase}, {controls.begin() + 1, controls.end()}));
  };
  for (const Angle& phase : body.phases) {
    if (phase.is_constant())
      constant += phase.constant;
    else
      add_phase(phase);
  }
  if (constant != 0) add_phase(constant);
  result.insert(result.end(), flips.begin(), flips.end());
  body = {std::move(result), {}};
}

double body_distance(const Body& a, const Body& b, int wires, bool up_to_phase) {
  const auto matrix = [&](const Body& body) {
    Circuit circuit(wires);
    for (const Operation& operation : body.operations) circuit.add(operation);
    Matrix result = circuit.matrix();
    for (const Angle& phase : body.phases)
      for (Complex& element : result.data) element *= std::polar(1.0, phase.constant);
    return result;
  };
  const Matrix left = matrix(a), right = matrix(b);
  Complex phase = 1;
  if (up_to_phase) {
    Complex overlap = 0;
    for (size_t i = 0; i < left.data.size(); ++i) overlap += std::conj(right.data[i]) * left.data[i];
    if (std::abs(overlap) > 1e-9) phase = overlap / std::abs(overlap);
  }
  double distance = 0;
  for (size_t i = 0; i < left.data.size(); ++i)
    distance = std::max(distance, std::abs(left.data[i] - phase * right.data[i]));
  return distance;
}

EulerAngles euler_angles(const Matrix& u) {
  // U = [[cos, -e^{i lambda} sin], [e^{i phi} sin, e^{i (phi + lambda)} cos]]
  const double cosine = std::abs(u(0, 0)), sine = std::abs(u(1, 0));
  const double theta = 2 * std::atan2(sine, cosine);
  if (sine < 1e-15) return {0, 0, std::arg(u(1, 1) / u(0, 0)), std::arg(u(0, 0))};
  if (cosine < 1e-15) {
    const double phase = std::arg(-u(0, 1));
    return {kPi, std::arg(u(1, 0)) - phase, 0, phase};
  }
  const double phase = std::arg(u(0, 0));
  return {theta, std::arg(u(1, 0) / u(0, 0)), std::arg(-u(0, 1) / u(0, 0)), phase};
}

Matrix matrix_power(const Matrix& u, double exponent) {
  // U is normal: the Hermitian parts of e^{i shift} U commute, and this shift separates all but rare eigenvalues.
  const Complex shift = std::polar(1.0, 0.7390851);
  const Matrix adjoint = u.adjoint();
  Matrix hermitian(u.dim);
  for (size_t i = 0; i < u.data.size(); ++i)
    hermitian.data[i] = 0.5 * (shift * u.data[i] + std::conj(shift) * adjoint.data[i]);
  const Matrix v = eigenvectors(hermitian);
  const Matrix diagonal = v.adjoint() * u * v;
  Matrix scaled = v;
  for (int j = 0; j < u.dim; ++j) {
    double phase = std::arg(diagonal(j, j));
    if (phase < -kPi + 1e-9) phase += 2 * kPi;  // rounding must not choose the branch of -1
    for (int i = 0; i < u.dim; ++i) scaled(i, j) *= std::polar(1.0, exponent * phase);
  }
  return scaled * v.adjoint();
}

}  // namespace quanta::qasm
