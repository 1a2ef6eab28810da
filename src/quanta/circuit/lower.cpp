#include <algorithm>
#include <bit>
#include <cmath>
#include <numbers>

#include "quanta/circuit/decompose.h"
#include "quanta/circuit/passes.h"

namespace quanta::passes {
namespace {

using enum GateKind;
using Wires = std::vector<int>;

constexpr double kPi = std::numbers::pi;
constexpr double kZero = 1e-13;
constexpr size_t kGrayControls = 5;  // up to here a Gray code takes fewer CNOTs than halving the controls

Wires join(Wires a, const Wires& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

bool is(const Angle& angle, double value) {
  return angle.is_constant() && std::abs(std::remainder(angle.constant - value, 2 * kPi)) < kZero;
}

class Lowering {
 public:
  Lowering(int wires, const Basis& basis, bool pairs) : wires_(wires), basis_(basis), pairs_(pairs) {}

  void operation(const Operation& operation) {
    const size_t first = out.size();
    if (is_unitary(operation.kind))
      unitary(operation);
    else
      out.push_back(operation);
    for (size_t i = first; i < out.size(); ++i) out[i].conditions = operation.conditions;
  }

  Operations out;

 private:
  bool keeps(GateKind kind) const {
    const int wires = gate_info(kind).wires;
    return basis_.has(kind) || wires == 1 || kind == CX || (wires == 2 && !pairs_);
  }

  void add(GateKind kind, Wires wires, std::vector<Angle> angles = {}) {
    out.push_back(gate(kind, std::move(wires), std::move(angles)));
  }
  void turn(GateKind kind, int q, const Angle& angle, double factor = 1) {
    for (const Angle& part : scaled(angle, factor)) add(kind, {q}, {part});
  }
  // What `body` appends, undone: constant gates only.
  template <class Change, class Body>
  void within(Change change, Body body) {
    const size_t first = out.size();
    change();
    const size_t last = out.size();
    body();
    for (size_t i = last; i-- > first;) {
      Operation inverse = out[i];
      if (inverse.kind != CX) inverse = one_qubit(inverse.unitary().adjoint(), inverse.wires[0]);
      if (out[i].kind == H) inverse.kind = H, inverse.angles.clear();
      if (out[i].kind == S || out[i].kind == Sdg) {
        inverse.kind = out[i].kind == S ? Sdg : S;
        inverse.angles.clear();
      }
      if (out[i].kind == T || out[i].kind == Tdg) {
        inverse.kind = out[i].kind == T ? Tdg : T;
        inverse.angles.clear();
      }
      out.push_back(std::move(inverse));
    }
  }

  // exp(-i angle/2 ZZ).
  void zz(int a, int b, const Angle& angle, double factor = 1) {
    for (const Angle& part : scaled(angle, factor)) {
      const auto kind = basis_.interaction();
      if (keeps(RZZ)) {
        add(RZZ, {a, b}, {part});
      } else if (kind) {
        within(
            [&] {
              for (const int q : {a, b}) {
                add(H, {q});  // Z -> X -> Y
                if (*kind == RYY) add(S, {q});
              }
            },
            [&] {
              add(*kind, {a, b}, {part});
            });
      } else {
        add(CX, {a, b});
        add(RZ, {b}, {part});
        add(CX, {a, b});
      }
    }
  }

  // A phase e^{i angle} where all of the wires are 1.
  void phase(Wires on, const Angle& angle, double factor = 1) {
    if (on.empty()) return;
    if (on.size() == 1) return turn(P, on[0], angle, factor);
    if (angle.is_constant() && is(angle.constant * factor, kPi) && on.size() == 2) {
      if (keeps(CZ)) return add(CZ, on);
      return within([&] { add(H, {on[1]}); }, [&] { add(CX, on); });
    }
    if (on.size() == 2 && keeps(CP)) {
      for (const Angle& part : scaled(angle, factor)) add(CP, on, {part});
      return;
    }
    const int target = on.back();
    on.pop_back();
    rz(on, target, angle, factor);
    phase(on, angle, factor / 2);
  }

  // exp(-i angle/2 Z) where all of the controls are 1.
  void rz(const Wires& controls, int target, const Angle& angle, double factor = 1) {
    const size_t k = controls.size();
    if (k == 0) return turn(RZ, target, angle, factor);
    if (k == 1 && keeps(CRZ)) {
      for (const Angle& part : scaled(angle, factor)) add(CRZ, {controls[0], target}, {part});
    } else if (k == 1) {
      turn(RZ, target, angle, factor / 2);
      zz(controls[0], target, angle, -factor / 2);
    } else if (k <= kGrayControls) {
      const unsigned count = 1u << k;
      for (unsigned i = 0; i < count; ++i) {
        const unsigned code = i ^ i >> 1, next = (i + 1) % count ^ (i + 1) % count >> 1;
        turn(RZ, target, angle, (std::popcount(code) % 2 ? -factor : factor) / count);
        add(CX, {controls[std::countr_zero(code ^ next)], target});
      }
    } else {
      // A commutator of halves: X RZ(b) X = RZ(-b), so that four turns add up only if both halves act.
      const Wires halves[2] = {Wires(controls.begin(), controls.begin() + k / 2),
                               Wires(controls.begin() + k / 2, controls.end())};
      for (int step = 0; step < 4; ++step) {
        x(halves[step % 2], target);
        turn(RZ, target, angle, step % 2 ? factor / 4 : -factor / 4);
      }
    }
  }

  void x(const Wires& controls, int target) {
    const size_t k = controls.size();
    if (k == 0) return add(X, {target});
    if (k == 1) return add(CX, {controls[0], target});
    if (k == 2 && basis_.has(CCX)) return add(CCX, {controls[0], controls[1], target});
    Wires idle;
    for (int q = 0; q < wires_ && idle.size() < k; ++q)
      if (q != target && std::ranges::count(controls, q) == 0) idle.push_back(q);
    const bool long_way = k > 4 || (k > 2 && !basis_.continuous());
    if (!long_way || idle.empty())
      within([&] { add(H, {target}); }, [&] { phase(join(controls, {target}), kPi); });
    else if (idle.size() >= k - 2)
      ladder(controls, target, idle);
    else
      // Barenco et al., PRA 52, 3457 (1995), lemma 7.3: each half finds its idle wires in the other.
      for (int step = 0; step < 4; ++step) {
        const size_t m = (k + 1) / 2;
        if (step % 2 == 0)
          x(Wires(controls.begin(), controls.begin() + m), idle[0]);
        else
          x(join(Wires(controls.begin() + m, controls.end()), {idle[0]}), target);
      }
  }

  // Barenco et al., lemma 7.2: k - 2 idle wires in any state. The inner Toffoli gates come in pairs, so that a phase
  // of theirs cancels (Maslov, PRA 93, 022311, 2016) and three CNOTs do.
  void ladder(const Wires& controls, int target, const Wires& idle) {
    const int k = int(controls.size());
    const auto relative = [&](int a, int b, int t) {
      const auto t_gate = [&](GateKind kind) { add(kind, {t}); };
      t_gate(H);
      t_gate(T);
      add(CX, {b, t});
      t_gate(Tdg);
      add(CX, {a, t});
      t_gate(T);
      add(CX, {b, t});
      t_gate(Tdg);
      t_gate(H);
    };
    const auto inner = [&] {  // the AND of all but the last control onto idle[k - 3]
      for (int i = k - 2; i >= 2; --i) relative(controls[i], idle[i - 2], idle[i - 1]);
      relative(controls[0], controls[1], idle[0]);
      for (int i = 2; i <= k - 2; ++i) relative(controls[i], idle[i - 2], idle[i - 1]);
    };
    const Wires outer = {controls[k - 1], idle[k - 3]};
    x(outer, target);
    within(inner, [&] { x(outer, target); });
  }

  // exp(-i angle/2 P).
  void pauli(const PauliString& string, const Wires& controls, const Angle& angle, double factor = 1) {
    if (string.factors.empty()) return phase(controls, angle, -factor / 2);
    if (string.factors.size() == 1 && controls.empty())
      return turn(rotation_about(string.factors[0].second), string.factors[0].first, angle, factor);
    within(
        [&] {
          for (const auto& [wire, letter] : string.factors) {
            if (letter == 'Y') add(Sdg, {wire});
            if (letter != 'Z') add(H, {wire});
          }
        },
        [&] {
          const auto& f = string.factors;
          if (f.size() == 1) return rz(controls, f[0].first, angle, factor);
          within(
              [&] {
                for (size_t i = 0; i + 2 < f.size(); ++i) add(CX, {f[i].first, f[i + 1].first});
                if (!controls.empty()) add(CX, {f[f.size() - 2].first, f.back().first});
              },
              [&] {
                if (controls.empty())
                  zz(f[f.size() - 2].first, f.back().first, angle, factor);
                else
                  rz(controls, f.back().first, angle, factor);
              });
        });
  }

  // V diag(e^{i d}) V^dagger, the diagonal matrix as rotations about products of Z, of which only they have controls.
  void dense(const Matrix& u, const Wires& on, const Wires& controls) {
    if (controls.empty()) return synthesize(u, on, out);
    const Eigen eigen = diagonalize(u);
    synthesize(eigen.vectors.adjoint(), on, out);
    for (int s = 0; s < u.dim; ++s) {
      double coefficient = 0;
      for (int j = 0; j < u.dim; ++j)
        coefficient += (std::popcount(unsigned(s & j)) % 2 ? -1 : 1) * std::arg(eigen.values[j]) / u.dim;
      if (std::abs(coefficient) < kZero) continue;
      PauliString z;
      for (size_t bit = 0; bit < on.size(); ++bit)
        if (s >> bit & 1) z.factors.emplace_back(on[bit], 'Z');
      pauli(z, controls, -2 * coefficient);
    }
    synthesize(eigen.vectors, on, out);
  }

  void unitary(const Operation& operation) {
    const GateInfo& info = gate_info(operation.kind);
    const Wires all = operation.all_wires();
    if (operation.controls.empty() && info.wires > 0 && keeps(operation.kind)) {
      if (operation.kind != I) out.push_back(operation);
      return;
    }
    if (operation.controls.empty() && all.size() == 2 && !pairs_) {
      out.push_back(operation);
      return;
    }
    const Wires own(operation.wires.begin() + info.controls, operation.wires.end());
    const Wires controls =
        join(Wires(operation.wires.begin(), operation.wires.begin() + info.controls), operation.controls);
    // The gate with one control or two that the basis may have.
    for (const GateInfo& other : gate_table()) {
      if (other.base != info.base || other.kind == info.kind || other.controls != int(controls.size()) ||
          other.controls == 0 || other.kind == CU || info.base == Unitary || !basis_.has(other.kind))
        continue;
      return add(other.kind, join(controls, own), operation.angles);
    }
    base(operation, info.base, own, controls);
  }

  void base(const Operation& operation, GateKind kind, const Wires& own, const Wires& controls) {
    const int q = own.empty() ? -1 : own[0];
    const std::vector<Angle>& a = operation.angles;
    const auto on_all = [&] { return join(controls, {q}); };
    const bool constant = std::ranges::all_of(a, &Angle::is_constant);
    switch (kind) {
      case I:
        return;
      case X:
        return x(controls, q);
      case Y:
        return within([&] { add(Sdg, {q}); }, [&] { x(controls, q); });
      case Z:
        return phase(on_all(), kPi);
      case H:  // S H T takes X to H
        return within(
            [&] {
              add(S, {q});
              add(H, {q});
              add(T, {q});
            },
            [&] { x(controls, q); });
      case S:
        return phase(on_all(), kPi / 2);
      case Sdg:
        return phase(on_all(), -kPi / 2);
      case T:
        return phase(on_all(), kPi / 4);
      case Tdg:
        return phase(on_all(), -kPi / 4);
      case SX:
      case SXdg:
        return within([&] { add(H, {q}); }, [&] { phase(on_all(), kind == SX ? kPi / 2 : -kPi / 2); });
      case RX:
        return pauli(PauliString({{q, 'X'}}), controls, a[0]);
      case RY:
        return pauli(PauliString({{q, 'Y'}}), controls, a[0]);
      case RZ:
        return rz(controls, q, a[0]);
      case P:
        return phase(on_all(), a[0]);
      case U:
        if (a.size() == 4) phase(controls, a[3]);
        if (constant) {
          const std::vector<double> values{a[0].constant, a[1].constant, a[2].constant};
          return dense(gate_matrix(U, values), own, controls);
        }
        phase(controls, a[1], 0.5);
        phase(controls, a[2], 0.5);
        if (controls.size() == 1) {  // A X B X C with A B C = 1 (Barenco et al., lemma 4.3)
          turn(RZ, q, a[2], 0.5);
          turn(RZ, q, a[1], -0.5);
          add(CX, {controls[0], q});
          turn(RZ, q, a[1], -0.5);
          turn(RZ, q, a[2], -0.5);
          turn(RY, q, a[0], -0.5);
          add(CX, {controls[0], q});
          turn(RY, q, a[0], 0.5);
          turn(RZ, q, a[1]);
        } else {
          rz(controls, q, a[2]);
          pauli(PauliString({{q, 'Y'}}), controls, a[0]);
          rz(controls, q, a[1]);
        }
        return;
      case SWAP:
        return within([&] { add(CX, {own[1], own[0]}); }, [&] { x(join(controls, {own[0]}), own[1]); });
      case ISWAP:
        if (controls.empty()) {
          add(S, {own[0]});
          add(S, {own[1]});
          add(H, {own[0]});
          add(CX, {own[0], own[1]});
          add(CX, {own[1], own[0]});
          add(H, {own[1]});
        } else {  // exp(i pi/4 (XX + YY))
          for (const char letter : {'X', 'Y'})
            pauli(PauliString({{own[0], letter}, {own[1], letter}}), controls, -kPi / 2);
        }
        return;
      case RXX:
      case RYY:
      case RZZ: {
        const char letter = kind == RXX ? 'X' : kind == RYY ? 'Y' : 'Z';
        return pauli(PauliString({{own[0], letter}, {own[1], letter}}), controls, a[0]);
      }
      case PauliRotation:
        return pauli(operation.pauli, controls, a[0]);
      case Unitary:
        return dense(*operation.matrix, own, controls);
      default:
        return;
    }
  }

  int wires_;
  const Basis& basis_;
  bool pairs_;
};

}  // namespace

Operations lower(const Operations& operations, int wires, const Basis& basis, bool pairs) {
  Lowering lowering(wires, basis, pairs);
  for (const Operation& operation : operations) lowering.operation(operation);
  return std::move(lowering.out);
}

}  // namespace quanta::passes
