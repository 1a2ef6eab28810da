#include "quanta/simulate/clifford.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <deque>
#include <map>
#include <numbers>

namespace quanta::simulate {

namespace {

using Gates = std::vector<CliffordStep>;

/// A signed Pauli string on two wires, and where the gate takes X0, Z0, X1, Z1.
struct Image {
  uint8_t x[2]{}, z[2]{}, sign = 0;
};
using Images = std::array<Image, 4>;

constexpr Images kIdentity{{{{1, 0}, {0, 0}}, {{0, 0}, {1, 0}}, {{0, 1}, {0, 0}}, {{0, 0}, {0, 1}}}};

void conjugate(const CliffordStep& step, Image& image) {
  const int a = step.a, b = step.b < 0 ? 1 - a : step.b;
  conjugate(step.kind, image.x[a], image.z[a], image.x[b], image.z[b], image.sign);
  image.sign &= 1;
}

uint16_t key(const Images& images) {
  uint16_t bits = 0;
  for (const Image& image : images)
    bits = uint16_t(bits << 4 | image.x[0] | image.z[0] << 1 | image.x[1] << 2 | image.z[1] << 3);
  return bits;
}

/// A shortest list of gates for each of the 720 Clifford gates on two wires, up to Pauli gates.
const std::map<uint16_t, Gates>& gate_lists() {
  static const std::map<uint16_t, Gates> lists = [] {
    Gates generators;
    for (const int q : {0, 1})
      for (const Clifford kind : {Clifford::H, Clifford::S, Clifford::SX}) generators.push_back({kind, q});
    generators.insert(generators.end(),
                      {{Clifford::CX, 0, 1}, {Clifford::CX, 1, 0}, {Clifford::CZ, 0, 1}, {Clifford::SWAP, 0, 1}});
    std::map<uint16_t, Gates> found{{key(kIdentity), {}}};
    std::deque<std::pair<Images, Gates>> queue{{kIdentity, {}}};
    for (; !queue.empty(); queue.pop_front()) {
      for (const CliffordStep& first : generators) {
        auto [images, gates] = queue.front();
        for (Image& image : images) conjugate(first, image);
        gates.insert(gates.begin(), first);
        if (found.try_emplace(key(images), gates).second) queue.emplace_back(images, gates);
      }
    }
    return found;
  }();
  return lists;
}

constexpr std::string_view kLetters = "IXYZ";

Matrix pauli_matrix(int x, int z) {
  const Complex i(0, 1);
  if (x && z) return Matrix(2, {0, -i, i, 0});
  return x ? Matrix(2, {0, 1, 1, 0}) : z ? Matrix(2, {1, 0, 0, -1}) : Matrix::identity(2);
}

/// The gates of a unitary on two wires, if it is Clifford.
std::optional<Gates> recognize(const Matrix& u) {
  Images images;
  for (int k = 0; k < 4; ++k) {
    const Image& p = kIdentity[k];
    const Matrix m = u.adjoint() * kron(pauli_matrix(p.x[1], p.z[1]), pauli_matrix(p.x[0], p.z[0])) * u;
    bool found = false;
    for (int bits = 1; bits < 16 && !found; ++bits) {
      Image q{{uint8_t(bits & 1), uint8_t(bits >> 2 & 1)}, {uint8_t(bits >> 1 & 1), uint8_t(bits >> 3)}};
      const Matrix product = kron(pauli_matrix(q.x[1], q.z[1]), pauli_matrix(q.x[0], q.z[0])) * m;
      Complex trace = 0;
      for (int i = 0; i < 4; ++i) trace += product(i, i) / 4.0;
      found = std::abs(std::abs(trace) - 1) < 1e-9;
      q.sign = trace.real() < 0;
      if (found) images[k] = q;
    }
    if (!found) return {};
  }
  Gates gates = gate_lists().at(key(images));
  Images reached = kIdentity;
  for (auto gate = gates.rbegin(); gate != gates.rend(); ++gate)
    for (Image& image : reached) conjugate(*gate, image);
  for (const int q : {0, 1}) {
    const bool flip_x = reached[2 * q].sign != images[2 * q].sign,
               flip_z = reached[2 * q + 1].sign != images[2 * q + 1].sign;
    if (flip_x || flip_z) gates.push_back({flip_x && flip_z ? Clifford::Y : flip_x ? Clifford::Z : Clifford::X, q});
  }
  return gates;
}

/// exp(-i quarters pi/4 P) on any number of wires.
Gates pauli_rotation(const PauliString& pauli, int quarters) {
  Gates gates;
  if (quarters == 2) {
    for (const auto& [wire, letter] : pauli.factors) gates.push_back({Clifford(kLetters.find(letter) - 1), wire});
    return gates;
  }
  if (quarters == 0 || pauli.factors.empty()) return gates;
  const auto& factors = pauli.factors;
  for (const auto& [wire, letter] : factors)
    if (letter != 'Z') gates.push_back({letter == 'X' ? Clifford::H : Clifford::SX, wire});
  for (size_t i = 0; i + 1 < factors.size(); ++i)
    gates.push_back({Clifford::CX, factors[i].first, factors[i + 1].first});
  const int last = factors.back().first;
  gates.push_back({Clifford::S, last});
  if (quarters == 3) gates.push_back({Clifford::Z, last});
  for (size_t i = factors.size() - 1; i > 0; --i)
    gates.push_back({Clifford::CX, factors[i - 1].first, factors[i].first});
  for (const auto& [wire, letter] : factors) {
    if (letter != 'Z') gates.push_back({letter == 'X' ? Clifford::H : Clifford::SX, wire});
    if (letter == 'Y') gates.push_back({Clifford::X, wire});
  }
  return gates;
}

/// The gates of one unitary operation, on the circuit's wires.
std::optional<Gates> gates_of(const Operation& operation, const double* weights, const double* inputs) {
  if (operation.kind == GateKind::PauliRotation && operation.controls.empty()) {
    const double quarters = operation.angles[0].value(weights, inputs) / (std::numbers::pi / 2);
    if (std::abs(quarters - std::round(quarters)) > 1e-9) return {};
    return pauli_rotation(operation.pauli, int(std::fmod(std::fmod(std::round(quarters), 4) + 4, 4)));
  }
  const std::vector<int> wires = operation.all_wires();
  if (wires.empty() || wires.size() > 2) return {};
  Matrix u = operation.unitary(weights, inputs);
  if (wires.size() == 1) u = kron(Matrix::identity(2), u);
  std::optional<Gates> gates = recognize(u);
  if (!gates) return {};
  for (CliffordStep& gate : *gates) {
    gate.a = wires[gate.a];
    if (gate.b >= 0) gate.b = wires[gate.b];
  }
  return gates;
}

}  // namespace

std::optional<std::vector<CliffordStep>> compile_clifford(const Circuit& circuit, const double* weights,
                                                          const double* inputs, std::string& why) {
  std::vector<CliffordStep> steps;
  std::map<GateKind, Gates> fixed;  // gates without angles, on wires 0 and 1
  for (size_t i = 0; i < circuit.operations().size(); ++i) {
    const Operation& operation = circuit.operations()[i];
    const std::string_view name = gate_info(operation.kind).name;
    const auto add = [&](CliffordStep step) {
      step.operation = int(i);
      step.conditional = !operation.conditions.empty();
      steps.push_back(step);
    };
    switch (operation.kind) {
      case GateKind::Barrier:
        continue;
      case GateKind::Measure:
        add({Clifford::Measure, operation.wires[0]});
        continue;
      case GateKind::Reset:
        add({Clifford::Reset, operation.wires[0]});
        continue;
      case GateKind::Channel:
        if (operation.channel->pauli_probabilities().empty()) {
          why = fmt::format("operation {}: the channel {} is not a mixture of Pauli strings", i,
                            operation.channel->name());
          return {};
        }
        add({Clifford::Channel});
        continue;
      case GateKind::AmplitudeEncoding:
        why = fmt::format("operation {}: a stabilizer circuit starts in |0...0>, not in an AmplitudeEncoding", i);
        return {};
      default:
        break;
    }
    const GateInfo& info = gate_info(operation.kind);
    const bool cached = info.angles == 0 && info.wires > 0 && operation.controls.empty();
    std::optional<Gates> gates;
    if (const auto at = fixed.find(operation.kind); cached && at != fixed.end()) {
      gates = at->second;
    } else if (cached) {
      Operation local = operation;
      for (size_t k = 0; k < local.wires.size(); ++k) local.wires[k] = int(k);
      gates = gates_of(local, weights, inputs);
      if (gates) fixed[operation.kind] = *gates;
    } else {
      gates = gates_of(operation, weights, inputs);
    }
    if (!gates) {
      std::string at;
      for (const int q : operation.all_wires()) at += fmt::format("{}{}", at.empty() ? "" : ", ", q);
      std::string angles;
      for (const Angle& angle : operation.angles)
        angles += fmt::format("{}{:g}", angles.empty() ? "(" : ", ", angle.value(weights, inputs));
      why = fmt::format("operation {}: {}{}{} on wires {} is not a Clifford gate; use Simulator or MpsSimulator", i,
                        name, angles, angles.empty() ? "" : ")", at);
      return {};
    }
    for (CliffordStep gate : *gates) {
      if (cached) {
        gate.a = operation.wires[gate.a];
        if (gate.b >= 0) gate.b = operation.wires[gate.b];
      }
      add(gate);
    }
  }
  return steps;
}

}  // namespace quanta::simulate
