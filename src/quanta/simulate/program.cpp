#include "quanta/simulate/program.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <optional>

#include "quanta/core/error.h"

namespace quanta::simulate {
namespace {

constexpr double kPi = std::numbers::pi;
constexpr Complex kI(0, 1);

// The special unitary part of a one-qubit gate and the phase that was taken out.
std::pair<Su2, double> special_unitary(const Matrix& u) {
  const double phase = std::arg(u(0, 0) * u(1, 1) - u(0, 1) * u(1, 0)) / 2;
  const Complex factor = std::polar(1.0, -phase);
  return {{u(0, 0) * factor, u(1, 0) * factor}, phase};
}

// V and the eigenvalues' angles with U = V diag(e^{i first}, e^{i second}) V^dagger.
struct Eigen {
  Su2 vectors;
  double first, second;
};
Eigen diagonalize(const Matrix& u) {
  const auto [s, phase] = special_unitary(u);
  // s = cos(w/2) - i sin(w/2) n.sigma
  const double nx = -s.b.imag(), ny = s.b.real(), nz = -s.a.imag();
  const double sine = std::sqrt(nx * nx + ny * ny + nz * nz);
  const double half = std::atan2(sine, s.a.real());
  Su2 v;
  if (sine > 1e-300) {
    // The rotation that takes Z to n.
    const double theta = std::atan2(std::hypot(nx, ny), nz), phi = std::atan2(ny, nx);
    v = rotation('Z', phi) * rotation('Y', theta);
  }
  return {v, phase - half, phase + half};
}

Su2 inverse(const Su2& u) {
  return {std::conj(u.a), -u.b};
}

class Lowering {
 public:
  Lowering(const Circuit& circuit, bool single_sample) : chain_(circuit.wires()), fresh_(circuit.wires(), true) {
    program_.single_sample = single_sample;
    program_.wires = circuit.wires();
    program_.weights = circuit.weights();
    program_.inputs = circuit.inputs();
    program_.initial.assign(circuit.wires(), -1);
    for (int q = 0; q < circuit.wires(); ++q) program_.flip.push_back(uint64_t{1} << q);
    program_.parity = program_.flip;
    for (const Operation& operation : circuit.operations()) lower(operation);
  }

  void measure(const std::vector<PauliSum>& observables) {
    std::vector<char> basis(program_.wires, 'I');
    bool qubit_wise = true;
    for (const PauliSum& sum : observables)
      for (const auto& term : sum.terms)
        for (const auto& [wire, letter] : term.pauli.factors) {
          if (basis[wire] == 'I') basis[wire] = letter;
          qubit_wise = qubit_wise && basis[wire] == letter;
        }
    if (qubit_wise) {
      for (int q = 0; q < program_.wires; ++q) {
        if (basis[q] == 'X') fixed(q, rotation('Y', -kPi / 2));
        if (basis[q] == 'Y') fixed(q, rotation('X', kPi / 2));
      }
    }
    flush_all();
    program_.outputs = int(observables.size());
    program_.constants.assign(observables.size(), 0);
    for (size_t k = 0; k < observables.size(); ++k) {
      for (const auto& term : observables[k].simplified().terms) {
        ObservableTerm lowered{int(k), term.coefficient, 0, 0, 0};
        for (auto [wire, letter] : term.pauli.factors) {
          if (qubit_wise) letter = 'Z';
          if (letter != 'Z') lowered.flip ^= program_.flip[wire];
          if (letter != 'X') lowered.mask ^= program_.parity[wire];
          lowered.ys += letter == 'Y';
        }
        if (odd(lowered.mask & program_.origin)) lowered.coefficient = -lowered.coefficient;
        if (term.pauli.factors.empty()) {
          program_.constants[k] += term.coefficient;
        } else {
          (lowered.flip ? program_.other_terms : program_.diagonal_terms).push_back(lowered);
        }
      }
    }
    // Phases at the end do not show in diagonal observables, and their derivatives are zero.
    if (program_.other_terms.empty() && !program_.layers.empty()) {
      Layer& last = program_.layers.back();
      if (last.rotations.empty() && last.sample_gates.empty() && last.dense.empty()) program_.layers.pop_back();
    }
  }

  Program finish() {
    flush_all();
    return std::move(program_);
  }

 private:
  void lower(const Operation& operation) {
    const std::vector<int>& w = operation.wires;
    const std::vector<Angle>& a = operation.angles;
    switch (operation.kind) {
      case GateKind::Barrier:
        return;
      case GateKind::AmplitudeEncoding:
        program_.amplitude_encoding = true;
        std::fill(fresh_.begin(), fresh_.end(), false);
        return;
      case GateKind::PauliRotation:
        return pauli_rotation(operation.pauli, a[0], operation.controls);
      case GateKind::RXX:
        return pauli_rotation(PauliString({{w[0], 'X'}, {w[1], 'X'}}), a[0], operation.controls);
      case GateKind::RYY:
        return pauli_rotation(PauliString({{w[0], 'Y'}, {w[1], 'Y'}}), a[0], operation.controls);
      case GateKind::RZZ:
        return pauli_rotation(PauliString({{w[0], 'Z'}, {w[1], 'Z'}}), a[0], operation.controls);
      case GateKind::Unitary:
        if (w.size() > 1) return dense(w, operation.controls, *operation.matrix);
        break;
      case GateKind::ISWAP:
        if (!operation.controls.empty()) return dense(w, operation.controls, gate_matrix(operation.kind, {}));
        // iSWAP = SWAP CZ (S x S)
        phase_gate({}, {w[0]}, kPi / 2);
        phase_gate({}, {w[1]}, kPi / 2);
        phase_gate({w[0]}, {w[1]}, kPi);
        return swap(w[0], w[1]);
      default:
        break;
    }
    // What is left is a one-qubit gate or a SWAP under any number of controls.
    const GateInfo& info = gate_info(operation.kind);
    std::vector<int> controls(w.begin(), w.begin() + info.controls);
    controls.insert(controls.end(), operation.controls.begin(), operation.controls.end());
    const GateKind base = info.base;
    if (base == GateKind::SWAP) {
      const int p = w[w.size() - 2], q = w.back();
      if (controls.empty()) return swap(p, q);
      cnot(q, p);
      controls.push_back(p);
      controlled_one_qubit(GateKind::X, Matrix(), {}, controls, q);
      cnot(q, p);
      return;
    }
    controlled_one_qubit(base, operation.kind == GateKind::Unitary ? *operation.matrix : Matrix(), a, controls,
                         w.back());
  }

  void controlled_one_qubit(GateKind kind, const Matrix& matrix, const std::vector<Angle>& a,
                            const std::vector<int>& controls, int q) {
    switch (kind) {
      case GateKind::I:
        return;
      case GateKind::RX:
        return axis_rotation('X', q, a[0], controls);
      case GateKind::RY:
        return axis_rotation('Y', q, a[0], controls);
      case GateKind::RZ:
        return axis_rotation('Z', q, a[0], controls);
      case GateKind::P:
        return phase_gate(controls, {q}, a[0]);
      case GateKind::U:
        axis_rotation('Z', q, a[2], controls);
        axis_rotation('Y', q, a[0], controls);
        axis_rotation('Z', q, a[1], controls);
        phase(controls, a[1], 0.5);
        phase(controls, a[2], 0.5);
        if (a.size() > 3) phase(controls, a[3]);
        return;
      default:
        break;
    }
    if (kind == GateKind::X && controls.size() == 1) return cnot(controls[0], q);
    if (kind == GateKind::X && controls.empty() && !fresh_[q] && chain_[q].factors.empty()) {
      program_.origin ^= program_.flip[q];
      return;
    }
    const Matrix u = kind == GateKind::Unitary ? matrix : gate_matrix(kind, {});
    if (controls.size() > 2) return dense({q}, controls, u);
    if (controls.empty()) {
      const auto [s, angle] = special_unitary(u);
      fixed(q, s);
      return phase({}, angle);
    }
    const Eigen eigen = diagonalize(u);
    fixed(q, inverse(eigen.vectors));
    phase(controls, eigen.first);
    phase_gate(controls, {q}, eigen.second - eigen.first);
    fixed(q, eigen.vectors);
  }

  // --- chains -------------------------------------------------------------------------------------------------------

  void fixed(int q, const Su2& matrix) {
    auto& factors = chain_[q].factors;
    if (!factors.empty() && factors.back().axis == 0) {
      factors.back().fixed = matrix * factors.back().fixed;
    } else {
      factors.push_back({0, matrix, {}});
    }
  }

  void axis_rotation(char axis, int q, const Angle& angle, const std::vector<int>& controls) {
    if (controls.empty()) {
      if (angle.is_constant()) return fixed(q, rotation(axis, angle.constant));
      Chain& chain = chain_[q];
      chain.factors.push_back({axis, {}, angle});
      chain.trainable = true;
      chain.per_sample = chain.per_sample || (angle.has_input() && !program_.single_sample);
      return;
    }
    pauli_rotation(PauliString({{q, axis}}), angle, controls);
  }

  void flush_all() {
    for (int q = 0; q < program_.wires; ++q) flush(q);
  }

  void flush(int q) {
    const bool fresh = fresh_[q];
    fresh_[q] = false;
    if (chain_[q].factors.empty()) return;
    Chain chain = std::exchange(chain_[q], {});
    const uint64_t flip = program_.flip[q], mask = program_.parity[q];
    const bool inverted = odd(mask & program_.origin);
    const int id = int(program_.chains.size());
    if (fresh) {
      program_.initial[q] = id;
      program_.chains.push_back(std::move(chain));
      return;
    }
    if (std::all_of(chain.factors.begin(), chain.factors.end(),
                    [](const Factor& f) { return f.axis == 'Z' || (f.axis == 0 && std::abs(f.fixed.b) < 1e-15); })) {
      for (const Factor& factor : chain.factors)
        emit_phase(
            {factor.axis ? factor.angle : Angle(-2 * std::arg(factor.fixed.a)), {{mask, inverted ? -1.0 : 1.0}}});
      return;
    }
    const Rotation gate{flip, mask, inverted, id};
    if (chain.per_sample) {
      const size_t layer = earliest(
          [&](const Layer& l) {
            return std::all_of(l.sample_gates.begin(), l.sample_gates.end(),
                               [&](const Rotation& r) { return independent(r, gate); }) &&
                   l.dense.empty();
          },
          [&](const Layer& l) { return commutes_with_diagonal(l, flip) && commutes_with_rest(l, flip, mask, 0); });
      program_.layers[layer].sample_gates.push_back(gate);
    } else {
      const size_t layer = earliest(
          [&](const Layer& l) {
            return std::all_of(l.rotations.begin(), l.rotations.end(),
                               [&](const Rotation& r) { return independent(r, gate); }) &&
                   commutes_with_rest(l, flip, mask, 1);
          },
          [&](const Layer& l) { return commutes_with_diagonal(l, flip) && commutes_with_rest(l, flip, mask, 0); });
      program_.layers[layer].chain_phases.push_back({mask, inverted, id, false});
      program_.layers[layer].rotations.push_back(gate);
      chain.only_y = std::all_of(chain.factors.begin(), chain.factors.end(), [](const Factor& f) {
        return f.axis == 'Y' || (f.axis == 0 && std::abs(f.fixed.a.imag()) + std::abs(f.fixed.b.imag()) < 1e-15);
      });
      if (!chain.only_y) {
        Layer& after = program_.layers[diagonal_layer({mask})];
        after.chain_phases.push_back({mask, inverted, id, true});
      }
    }
    program_.chains.push_back(std::move(chain));
  }

  // --- scheduling ---------------------------------------------------------------------------------------------------

  static bool independent(const Rotation& a, const Rotation& b) {
    return !odd(a.parity & b.flip) && !odd(b.parity & a.flip);
  }

  static bool commutes_with_diagonal(const Layer& layer, uint64_t flip) {
    const auto even = [flip](const PhaseGate& gate) {
      return std::none_of(gate.spectrum.begin(), gate.spectrum.end(),
                          [&](const auto& t) { return odd(t.first & flip); });
    };
    return std::none_of(layer.chain_phases.begin(), layer.chain_phases.end(),
                        [&](const ChainPhase& phase) { return odd(phase.mask & flip); }) &&
           std::all_of(layer.shared_phases.begin(), layer.shared_phases.end(), even) &&
           std::all_of(layer.per_sample_phases.begin(), layer.per_sample_phases.end(), even);
  }

  // Whether a gate made of flip and mask passes through the layer's parts from `first` (0: rotations, 1: what follows).
  static bool commutes_with_rest(const Layer& layer, uint64_t flip, uint64_t mask, int first) {
    const auto apart = [&](const Rotation& r) { return !odd(r.parity & flip) && !odd(mask & r.flip); };
    if (first == 0 && !std::all_of(layer.rotations.begin(), layer.rotations.end(), apart)) return false;
    if (!std::all_of(layer.sample_gates.begin(), layer.sample_gates.end(), apart)) return false;
    return std::all_of(layer.dense.begin(), layer.dense.end(),
                       [&](const Dense& d) { return std::all_of(d.wires.begin(), d.wires.end(), apart); });
  }

  // The earliest layer that can hold a gate (`fits`) with all later layers letting it pass; a new one if need be.
  template <class Fits, class Passes>
  size_t earliest(Fits fits, Passes passes) {
    size_t best = program_.layers.size();
    for (size_t l = program_.layers.size(); l-- > 0;) {
      if (fits(program_.layers[l])) best = l;
      if (!passes(program_.layers[l])) break;
    }
    if (best == program_.layers.size()) program_.layers.emplace_back();
    return best;
  }

  size_t diagonal_layer(const std::vector<uint64_t>& masks) {
    size_t best = program_.layers.size();
    while (best > 0 && std::all_of(masks.begin(), masks.end(), [&](uint64_t mask) {
             return commutes_with_rest(program_.layers[best - 1], 0, mask, 0);
           }))
      --best;
    if (best == program_.layers.size()) program_.layers.emplace_back();
    return best;
  }

  void emit_phase(PhaseGate gate) {
    std::vector<uint64_t> masks;
    for (const auto& term : gate.spectrum) masks.push_back(term.first);
    Layer& layer = program_.layers[diagonal_layer(masks)];
    (gate.angle.has_input() && !program_.single_sample ? layer.per_sample_phases : layer.shared_phases)
        .push_back(std::move(gate));
  }

  // --- gates on several wires
  // -----------------------------------------------------------------------------------------

  void cnot(int control, int target) {
    flush(control);
    flush(target);
    program_.parity[target] ^= program_.parity[control];
    program_.flip[control] ^= program_.flip[target];
  }

  void swap(int p, int q) {
    // Nothing is flushed: the chains and the freshness of a wire would travel, but a fresh wire's bit must stay its
    // own.
    flush(p);
    flush(q);
    std::swap(program_.parity[p], program_.parity[q]);
    std::swap(program_.flip[p], program_.flip[q]);
  }

  // exp(-i angle/2 Z_mask) where all controls are 1: the projector 2^-m prod (1 - Z_c) spread over its Walsh terms.
  void diagonal_rotation(uint64_t mask, bool inverted, const Angle& angle, const std::vector<int>& controls) {
    PhaseGate gate{angle, {{mask, inverted ? -1.0 : 1.0}}};
    for (const int c : controls) {
      const double sign = odd(program_.parity[c] & program_.origin) ? 1 : -1;
      const size_t terms = gate.spectrum.size();
      for (size_t t = 0; t < terms; ++t) {
        gate.spectrum[t].second /= 2;
        gate.spectrum.emplace_back(gate.spectrum[t].first ^ program_.parity[c], sign * gate.spectrum[t].second);
      }
    }
    // The constant part is a global phase.
    std::erase_if(gate.spectrum, [&](const auto& term) {
      if (term.first == 0) program_.global_phase.emplace_back(angle, -term.second / 2);
      return term.first == 0;
    });
    if (!gate.spectrum.empty()) emit_phase(std::move(gate));
  }

  void pauli_rotation(const PauliString& pauli, const Angle& angle, const std::vector<int>& controls) {
    if (pauli.factors.empty()) return phase(controls, angle, -0.5);
    if (pauli.factors.size() == 1 && controls.empty())
      return axis_rotation(pauli.factors[0].second, pauli.factors[0].first, angle, {});
    const auto basis = [](char letter) { return letter == 'X' ? rotation('Y', -kPi / 2) : rotation('X', kPi / 2); };
    uint64_t mask = 0;
    for (const auto& [wire, letter] : pauli.factors) {
      if (letter != 'Z') fixed(wire, basis(letter));
      flush(wire);
      mask ^= program_.parity[wire];
    }
    for (const int c : controls) flush(c);
    diagonal_rotation(mask, odd(mask & program_.origin), angle, controls);
    for (const auto& [wire, letter] : pauli.factors)
      if (letter != 'Z') fixed(wire, inverse(basis(letter)));
  }

  // e^{i factor angle} where all controls are 1.
  void phase(std::vector<int> controls, const Angle& angle, double factor = 1) {
    if (controls.empty()) {
      program_.global_phase.emplace_back(angle, factor);
      return;
    }
    const int q = controls.back();
    controls.pop_back();
    if (angle.offset == Angle::kNone || factor == 1) return phase_gate(controls, {q}, factor * angle);
    // An Angle cannot scale its offset, but phases add up.
    Angle rest = angle;
    rest.offset = Angle::kNone;
    phase_gate(controls, {q}, factor * rest);
    phase_gate(controls, {q}, factor * weight(angle.offset));
  }

  // P(angle) = e^{i angle/2} RZ(angle) on q where all controls are 1.
  void phase_gate(const std::vector<int>& controls, const std::vector<int>& q, const Angle& angle) {
    axis_rotation('Z', q[0], angle, controls);
    phase(controls, angle, 0.5);
  }

  void dense(const std::vector<int>& targets, const std::vector<int>& controls, Matrix matrix) {
    Dense step{{}, int(targets.size()), std::move(matrix)};
    const auto add = [&](int q, bool control) {
      flush(q);
      step.wires.push_back(
          {program_.flip[q], program_.parity[q], odd(program_.parity[q] & program_.origin) != control, -1});
    };
    for (const int q : targets) add(q, false);
    for (const int q : controls) add(q, true);
    if (program_.layers.empty()) program_.layers.emplace_back();
    program_.layers.back().dense.push_back(std::move(step));
  }

  Program program_;
  std::vector<Chain> chain_;
  std::vector<bool> fresh_;
};

}  // namespace

Su2 operator*(const Su2& second, const Su2& first) {
  // Written out: std::complex would look for infinities.
  const auto mul = [](const Complex& x, const Complex& y) {
    return Complex(x.real() * y.real() - x.imag() * y.imag(), x.real() * y.imag() + x.imag() * y.real());
  };
  return {mul(second.a, first.a) - mul(std::conj(second.b), first.b),
          mul(second.b, first.a) + mul(std::conj(second.a), first.b)};
}

Su2 rotation(char axis, double angle) {
  const double c = std::cos(angle / 2), s = std::sin(angle / 2);
  switch (axis) {
    case 'X':
      return {c, -kI * s};
    case 'Y':
      return {c, s};
    default:
      return {Complex(c, -s), 0};
  }
}

std::array<std::array<double, 3>, 3> axes(double ar, double ai, double br, double bi) {
  return {{{ar * ar - ai * ai - br * br + bi * bi, 2 * (ar * ai - br * bi), 2 * (ar * br + ai * bi)},
           {-2 * (ar * ai + br * bi), ar * ar - ai * ai + br * br - bi * bi, 2 * (ar * bi - ai * br)},
           {2 * (ai * bi - ar * br), -2 * (ar * bi + ai * br), ar * ar + ai * ai - br * br - bi * bi}}};
}

Program lower(const Circuit& circuit, const std::vector<PauliSum>& observables, bool single_sample) {
  Lowering lowering(circuit, single_sample);
  if (!observables.empty()) lowering.measure(observables);
  return lowering.finish();
}

}  // namespace quanta::simulate
