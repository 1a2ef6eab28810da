#include <algorithm>
#include <array>
#include <cmath>
#include <deque>
#include <numbers>

#include "quanta/circuit/decompose.h"
#include "quanta/circuit/passes.h"
#include "quanta/core/error.h"

namespace quanta::passes {
namespace {

using enum GateKind;

constexpr double kPi = std::numbers::pi;
constexpr double kEqual = 1e-11;
constexpr size_t kMaxWords = 4000;

// Equal for matrices that differ by a phase (and rounding).
std::string key(const Matrix& m) {
  Complex phase = 0;
  for (const Complex& element : m.data)
    if (phase == 0.0 && std::abs(element) > 0.3) phase = std::conj(element) / std::abs(element);
  std::string text;
  for (const Complex& element : m.data) {
    const Complex value = element * phase;
    text += fmt::format("{},{};", std::lround(value.real() * 1e6), std::lround(value.imag() * 1e6));
  }
  return text;
}

double wrapped(double angle) {
  return std::remainder(angle, 2 * kPi);
}

bool is_multiple(double angle, double of) {
  return std::abs(std::remainder(angle, of)) < kEqual;
}

Matrix fixed(GateKind kind) {
  return gate_matrix(kind, {});
}

// The axis that a Clifford gate takes this one to.
char image(GateKind clifford, char axis) {
  const Matrix c = fixed(clifford);
  const auto pauli = [](char letter) { return fixed(letter == 'X' ? X : letter == 'Y' ? Y : Z); };
  const Matrix moved = c * pauli(axis) * c.adjoint();
  for (const char letter : {'X', 'Y', 'Z'})
    if (distance_up_to_phase(moved, pauli(letter)) < 1e-9) return letter;
  return 0;
}

// A Clifford matrix g with g P(from) g^dagger = P(to).
Matrix turn(char from, char to) {
  if (from == to) return Matrix::identity(2);
  const bool forward = (to - from + 3) % 3 == 1;  // X -> Y -> Z -> X
  const char axis = char('X' + 'Y' + 'Z' - from - to);
  return gate_matrix(rotation_about(axis), std::array{forward ? kPi / 2 : -kPi / 2});
}

}  // namespace

Basis::Basis(const std::vector<std::string>& names) : has_(gate_table().size(), false) {
  require(!names.empty(), "the basis is empty, expected gate names as rz, sx, x, cx");
  for (const std::string& name : names) {
    const GateInfo* info = find_gate(name == "u3" ? "u" : name == "cnot" ? "cx" : std::string_view(name));
    require(info != nullptr, "basis: there is no gate '{}', expected names of the gate table as rz, sx, x, cx", name);
    require(is_unitary(info->kind) && info->wires > 0,
            "basis: {} is not a gate that a machine has, expected one with "
            "a fixed number of wires as rz, sx, x, cx",
            info->name);
    has_[size_t(info->kind)] = true;
  }
  for (const GateInfo& info : gate_table())
    if (has(info.kind) && info.wires == 1 && info.angles == 0 && info.kind != I) fixed_.push_back(info.kind);

  const bool z = has(RZ) || has(P);
  const bool axes[3] = {has(RX), has(RY), z};
  if (has(U)) {
    family_ = Family::U;
  } else if (z && has(SX)) {
    family_ = Family::SX;
  } else if (axes[0] + axes[1] + axes[2] >= 2) {
    family_ = Family::Pair;
    first_ = axes[2] ? 'Z' : 'X';
    second_ = axes[1] ? 'Y' : 'X';
  } else if (z && has(SXdg)) {
    family_ = Family::SXdg;
  } else if (z && has(H)) {
    family_ = Family::H;
  } else {
    for (const char axis : {'Z', 'X', 'Y'}) {
      if (!axes[axis - 'X'] || family_ != Family::None) continue;
      for (const GateKind kind : fixed_) {
        const char other = image(kind, axis);
        if (other == 0 || other == axis) continue;
        family_ = Family::Conjugated;
        first_ = axis;
        second_ = other;
        turn_ = kind;
      }
    }
  }

  // Products of the fixed gates, shortest first.
  std::deque<std::pair<Matrix, std::vector<GateKind>>> queue{{Matrix::identity(2), {}}};
  words_.emplace(key(queue[0].first), std::vector<GateKind>{});
  while (!queue.empty() && words_.size() < kMaxWords && !fixed_.empty()) {
    const auto [m, word] = std::move(queue.front());
    queue.pop_front();
    for (const GateKind kind : fixed_) {
      auto longer = word;
      longer.push_back(kind);
      Matrix product = fixed(kind) * m;
      if (words_.emplace(key(product), longer).second) queue.emplace_back(std::move(product), std::move(longer));
    }
    if (continuous() && word.size() >= 3) break;  // the inverses of S and SX are among them
  }
}

std::optional<GateKind> Basis::interaction() const {
  for (const GateKind kind : {RZZ, RXX, RYY})
    if (has(kind)) return kind;
  return {};
}

std::string Basis::to_string() const {
  std::string text;
  for (const GateInfo& info : gate_table())
    if (has(info.kind))
      text += fmt::format("{}{}", text.empty() ? "" : ", ", info.qasm.empty() ? info.name : info.qasm);
  return "{" + text + "}";
}

void Basis::cnot(int control, int target, Operations& out) const {
  const auto one = [&](GateKind kind, int q, std::vector<Angle> angles = {}) {
    out.push_back(gate(kind, {q}, std::move(angles)));
  };
  const auto two = [&](GateKind kind, std::vector<Angle> angles = {}) {
    out.push_back(gate(kind, {control, target}, std::move(angles)));
  };
  if (has(CX)) {
    two(CX);
  } else if (has(CZ) || has(CP) || has(CRZ)) {
    one(H, target);
    if (has(CZ))
      two(CZ);
    else
      two(has(CP) ? CP : CRZ, {kPi});
    if (!has(CZ) && !has(CP)) one(S, control);  // CRZ(pi) controls -i Z
    one(H, target);
  } else if (has(CY) || has(CRY)) {
    one(S, target);
    has(CY) ? two(CY) : two(CRY, {kPi});
    if (!has(CY)) one(S, control);
    one(Sdg, target);
  } else if (has(CRX)) {
    two(CRX, {kPi});
    one(S, control);
  } else if (has(CU)) {
    two(CU, {kPi, 0, kPi, 0});
  } else if (has(CH)) {
    one(RY, target, {-kPi / 4});
    two(CH);
    one(RY, target, {kPi / 4});
  } else if (const auto kind = interaction()) {
    // CZ = RZ(-pi/2) RZ(-pi/2) RZZ(pi/2) up to a phase, ZZ turned into XX or YY on both wires.
    const char axis = *kind == RZZ ? 'Z' : *kind == RXX ? 'X' : 'Y';
    one(H, target);
    for (const int q : {control, target}) out.push_back(one_qubit(turn('Z', axis), q));
    two(*kind, {kPi / 2});
    for (const int q : {control, target}) {
      out.push_back(one_qubit(turn('Z', axis).adjoint(), q));
      one(Sdg, q);
    }
    one(H, target);
  } else if (has(ISWAP)) {
    // ISWAP = CZ SWAP S S, so two of them with S^dagger SX S^dagger between are CZ Z SX CZ = Z S SX CX.
    two(ISWAP);
    one(Sdg, control);
    one(SX, control);
    one(Sdg, control);
    two(ISWAP);
    one(S, control);
    one(SXdg, target);
  } else {
    fail(
        "the basis {} has no gate that entangles two qubits; add one of cx, cz, cy, ch, cp, crx, cry, crz, cu, iswap, "
        "rxx, ryy, rzz",
        to_string());
  }
}

void Basis::rotate(char axis, const Angle& angle, int wire, Operations& out) const {
  const GateKind kind = rotation_about(axis);
  if (has(kind))
    out.push_back(gate(kind, {wire}, {angle}));
  else if (axis == 'Z' && has(P))
    out.push_back(gate(P, {wire}, {angle}));
  else if (has(U))
    out.push_back(axis == 'Z'   ? gate(U, {wire}, {0, 0, angle})
                  : axis == 'Y' ? gate(U, {wire}, {angle, 0, 0})
                                : gate(U, {wire}, {angle, -kPi / 2, kPi / 2}));
  else
    for (const char other : {'Z', 'X', 'Y'}) {
      if (!has(rotation_about(other)) && !(other == 'Z' && has(P))) continue;
      out.push_back(one_qubit(turn(other, axis).adjoint(), wire));
      rotate(other, angle, wire, out);
      out.push_back(one_qubit(turn(other, axis), wire));
      return;
    }
}

void Basis::symbolic(const Operation& operation, Operations& out) const {
  if (has(operation.kind)) {
    out.push_back(operation);
    return;
  }
  const int q = operation.wires[0];
  const std::vector<Angle>& a = operation.angles;
  if (operation.kind == U) {
    rotate('Z', a[2], q, out);
    if (family_ == Family::SX) {
      out.push_back(gate(SX, {q}));
      rotate('Z', a[0] + kPi, q, out);
      out.push_back(gate(SX, {q}));
      rotate('Z', a[1] + kPi, q, out);
    } else {
      rotate('Y', a[0], q, out);
      rotate('Z', a[1], q, out);
    }
  } else {
    rotate(operation.kind == RX ? 'X' : operation.kind == RY ? 'Y' : 'Z', a[0], q, out);
  }
}

const std::vector<GateKind>* Basis::word(const Matrix& m) const {
  const auto found = words_.find(key(m));
  if (found == words_.end()) return nullptr;
  Matrix product = Matrix::identity(2);
  for (const GateKind kind : found->second) product = fixed(kind) * product;
  return distance_up_to_phase(m, product) < kEqual ? &found->second : nullptr;
}

bool Basis::constant(const Matrix& m, int q, Operations& out) const {
  const auto* kinds = word(m);
  const auto spell = [&] {
    for (const GateKind kind : *kinds) out.push_back(gate(kind, {q}));
    return true;
  };
  if (kinds != nullptr && kinds->size() <= 1) return spell();
  // As a rotation about one axis, if it is that.
  const auto single = [&](char axis) {
    const Matrix g = turn(axis, 'Z');
    const Matrix d = g * m * g.adjoint();
    if (std::abs(d(0, 1)) > kEqual / 2) return false;
    if (!has(rotation_about(axis)) && !(axis == 'Z' && has(P))) return false;
    rotate(axis, wrapped(std::arg(d(1, 1) / d(0, 0))), q, out);
    return true;
  };
  for (const char axis : {'Z', 'X', 'Y'})
    if (single(axis)) return true;
  if (kinds != nullptr && (family_ == Family::None || family_ == Family::Conjugated)) return spell();

  const Euler e = euler(m);
  const auto z = [&](double angle) {
    if (!is_multiple(angle, 2 * kPi)) rotate('Z', wrapped(angle), q, out);
  };
  const auto add = [&](GateKind kind) { out.push_back(gate(kind, {q})); };
  switch (family_) {
    case Family::U:
      out.push_back(gate(U, {q}, {e.theta, wrapped(e.phi), wrapped(e.lambda)}));
      return true;
    case Family::SX:
    case Family::SXdg: {
      const GateKind root = family_ == Family::SX ? SX : SXdg;
      const double half = family_ == Family::SX ? kPi / 2 : -kPi / 2;
      if (is_multiple(e.theta - kPi / 2, 2 * kPi)) {
        z(e.lambda - half);
        add(root);
        z(e.phi + half);
      } else if (is_multiple(e.theta - kPi, 2 * kPi) && has(X)) {
        z(e.lambda - e.phi - kPi);
        add(X);
      } else {  // SX RZ(theta + pi) SX = RZ(-pi) RY(theta); the inverses come with Z on both sides
        z(e.lambda + (root == SXdg ? kPi : 0));
        add(root);
        z(e.theta + kPi);
        add(root);
        z(e.phi + (root == SXdg ? 0 : kPi));
      }
      return true;
    }
    case Family::H:
      if (is_multiple(e.theta - kPi / 2, 2 * kPi)) {
        z(e.lambda - kPi);
        add(H);
        z(e.phi);
      } else {  // RY(theta) = RZ(pi/2) H RZ(theta) H RZ(-pi/2)
        z(e.lambda - kPi / 2);
        add(H);
        z(e.theta);
        add(H);
        z(e.phi + kPi / 2);
      }
      return true;
    case Family::Pair:
    case Family::Conjugated: {
      // Euler angles about Z and Y in a frame where Z is the first axis and Y the second up to its sign.
      const Matrix first = turn(first_, 'Z');
      const char now = [&] {  // where the second axis is in it
        for (const char letter : {'X', 'Y'})
          if (distance_up_to_phase(
                  first * turn('Z', second_) * fixed(Z) * turn('Z', second_).adjoint() * first.adjoint(),
                  fixed(letter == 'X' ? X : Y)) < 1e-9)
            return letter;
        return 'Y';
      }();
      const Matrix frame = now == 'X' ? gate_matrix(RZ, std::array{kPi / 2}) * first : first;
      const Euler local = euler(frame * m * frame.adjoint());
      const auto angle_about = [&](char axis, const Matrix& rotation) {  // its angle, the sign of the axis included
        const Matrix g = turn(axis, 'Z');
        const Matrix d = g * rotation * g.adjoint();
        return wrapped(std::arg(d(1, 1) / d(0, 0)));
      };
      const auto back = [&](GateKind kind, double angle) {
        return frame.adjoint() * gate_matrix(kind, std::array{angle}) * frame;
      };
      const auto turn_about = [&](char axis, const Matrix& rotation) {
        const double angle = angle_about(axis, rotation);
        if (is_multiple(angle, 2 * kPi)) return;
        if (axis == first_ || family_ == Family::Pair) {
          rotate(axis, angle, q, out);
          return;
        }
        // turn R(first) turn^dagger = R(+-second)
        const Matrix c = fixed(turn_);
        constant(c.adjoint(), q, out);
        const double inner = angle_about(first_, c.adjoint() * rotation * c);
        rotate(first_, inner, q, out);
        constant(c, q, out);
      };
      turn_about(first_, back(RZ, local.lambda));
      turn_about(second_, back(RY, local.theta));
      turn_about(first_, back(RZ, local.phi));
      return true;
    }
    case Family::None:
      break;
  }
  return false;
}

}  // namespace quanta::passes
