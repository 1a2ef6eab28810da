#include "quanta/simulate/unbind.h"

#include <cmath>
#include <numbers>
#include <set>

namespace quanta {
namespace {

constexpr double kPi = std::numbers::pi;

GateAngle analyse(const Operation& operation, size_t place) {
  const GateInfo& info = gate_info(operation.kind);
  const bool controlled = info.controls > 0 || !operation.controls.empty();
  const bool identity = operation.kind == GateKind::PauliRotation && operation.pauli.factors.empty();
  // Of P, and of U's phi and lambda and CU's gamma: projectors. All others rotate.
  const bool phase = info.base == GateKind::P || (info.base == GateKind::U && place > 0);
  std::set<double> eigenvalues = phase ? std::set{0.0, 1.0} : identity ? std::set{0.5} : std::set{-0.5, 0.5};
  if (controlled) eigenvalues.insert(0);
  std::set<double> differences;
  for (const double a : eigenvalues)
    for (const double b : eigenvalues)
      if (a > b) differences.insert(a - b);
  const double reach = phase ? kPi / 2 : kPi, factor = phase ? 0.5 : 0.25;
  return {operation.angles[place], {differences.begin(), differences.end()}, {{reach, factor}, {-reach, -factor}}};
}

// Shifts are taken from the period's middle, so that they are small.
double wrapped(double shift, double period) {
  return shift > period / 2 ? shift - period : shift;
}

}  // namespace

std::vector<Shift> GateAngle::first_derivative() const {
  const int n = int(frequencies.size());
  std::vector<Shift> rule;
  for (int k = 1; k <= 2 * n; ++k) {
    const double unit = frequencies[0], x = (2 * k - 1) * kPi / (2 * n), sine = std::sin(x / 2);
    rule.push_back({wrapped(x / unit, 2 * kPi / unit), (k % 2 ? 1 : -1) * unit / (4 * n * sine * sine)});
  }
  return rule;
}

std::vector<Shift> GateAngle::second_derivative() const {
  const int n = int(frequencies.size());
  std::vector<Shift> rule;
  for (int k = 0; k < 2 * n; ++k) {
    const double unit = frequencies[0], x = k * kPi / n, sine = std::sin(x / 2);
    const double weight = k == 0 ? -(2 * n * n + 1) / 6.0 : (k % 2 ? 1 : -1) / (2 * sine * sine);
    rule.push_back({wrapped(x / unit, 2 * kPi / unit), unit * unit * weight});
  }
  return rule;
}

Unbound::Unbound(const Circuit& bound)
    : circuit(bound.wires()), amplitudes(bound.has_amplitude_encoding() ? 1 << bound.wires() : 0) {
  for (const ClassicalRegister& bits : bound.registers()) circuit.add_register(bits.name, bits.size);
  for (Operation operation : bound.operations()) {
    for (size_t k = 0; k < operation.angles.size(); ++k) {
      if (operation.angles[k].is_constant()) continue;
      angles.push_back(analyse(operation, k));
      operation.angles[k] = input(amplitudes + int(angles.size()) - 1);
    }
    circuit.add(std::move(operation));
  }
}

void visit_derivatives(const Angle& angle, int weights, const double* weight, const double* input,
                       const std::function<void(int, double)>& visit) {
  if (angle.scale != 0) {
    const auto value = [](int index, const double* values) { return index == Angle::kNone ? 1 : values[index]; };
    const double w = value(angle.weight, weight), x = value(angle.input, input), y = value(angle.input2, input);
    if (angle.weight != Angle::kNone) visit(angle.weight, angle.scale * x * y);
    if (angle.input != Angle::kNone) visit(weights + angle.input, angle.scale * w * y);
    if (angle.input2 != Angle::kNone) visit(weights + angle.input2, angle.scale * w * x);
  }
  if (angle.offset != Angle::kNone) visit(angle.offset, 1);
}

void visit_second_derivatives(const Angle& angle, int weights, const double* weight, const double* input,
                              const std::function<void(int, int, double)>& visit) {
  if (angle.scale == 0) return;
  const int parameter[3] = {angle.weight, angle.input, angle.input2};
  const double* const values[3] = {weight, input, input};
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j) {
      const int rest = 3 - i - j;
      if (i == j || parameter[i] == Angle::kNone || parameter[j] == Angle::kNone) continue;
      const double other = parameter[rest] == Angle::kNone ? 1 : values[rest][parameter[rest]];
      visit(parameter[i] + (i ? weights : 0), parameter[j] + (j ? weights : 0), angle.scale * other);
    }
}

}  // namespace quanta
