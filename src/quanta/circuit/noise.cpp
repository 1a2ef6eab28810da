#include "quanta/circuit/noise.h"

#include <algorithm>

#include "quanta/core/error.h"

namespace quanta {

namespace {

void require_gates(const std::vector<GateKind>& kinds) {
  for (const GateKind kind : kinds) require(is_unitary(kind), "noise follows gates, got {}", gate_info(kind).name);
}

std::shared_ptr<const Channel> shared(Channel channel) {
  return std::make_shared<const Channel>(std::move(channel));
}

}  // namespace

NoiseModel& NoiseModel::after(Channel channel, std::vector<GateKind> kinds, std::vector<int> on) {
  require_gates(kinds);
  rules_.push_back({.channel = shared(std::move(channel)), .kinds = std::move(kinds), .on = std::move(on)});
  return *this;
}

NoiseModel& NoiseModel::after_on(std::vector<int> wires, Channel channel, std::vector<GateKind> kinds) {
  require_gates(kinds);
  require(!wires.empty(), "noise after gates on given wires: expected at least one wire");
  require(channel.wires() == 1 || channel.wires() == int(wires.size()),
          "noise after gates on wires {}: expected a channel on 1 or {} wires, got {} on {}", fmt::join(wires, ","),
          wires.size(), channel.name(), channel.wires());
  rules_.push_back(
      {.channel = shared(std::move(channel)), .kinds = std::move(kinds), .on = std::move(wires), .ordered = true});
  return *this;
}

NoiseModel& NoiseModel::after_gates_of(int qubits, Channel channel) {
  require(qubits >= 1, "noise after gates of {} qubits: expected at least 1", qubits);
  require(channel.wires() == 1 || channel.wires() == qubits,
          "noise after gates of {} qubits: expected a channel on 1 or {} wires, got {} on {}", qubits, qubits,
          channel.name(), channel.wires());
  rules_.push_back({.channel = shared(std::move(channel)), .qubits = qubits});
  return *this;
}

NoiseModel& NoiseModel::readout(double one_for_zero, double zero_for_one, std::optional<int> wire) {
  for (const double p : {one_for_zero, zero_for_one})
    require(p >= 0 && p <= 1, "read-out error: a probability must be in 0..1, got {}", p);
  readout_.push_back({wire, {one_for_zero, zero_for_one}});
  return *this;
}

NoiseModel NoiseModel::depolarizing(double p1, double p2) {
  NoiseModel model;
  if (p1 > 0) model.after_gates_of(1, quanta::depolarizing(p1));
  if (p2 > 0) model.after_gates_of(2, quanta::depolarizing(p2, 2));
  require(p1 >= 0 && p2 >= 0, "depolarizing: p must be in 0..1, got {} and {}", p1, p2);
  return model;
}

std::array<double, 2> NoiseModel::misread(int wire) const {
  std::array<double, 2> result{};
  for (const Readout& readout : readout_)
    if (!readout.wire || *readout.wire == wire) result = readout.misread;
  return result;
}

Circuit NoiseModel::apply(const Circuit& circuit) const {
  Circuit result(circuit.wires());
  for (const ClassicalRegister& bits : circuit.registers()) result.add_register(bits.name, bits.size);
  for (Operation operation : circuit.operations()) {
    if (operation.kind == GateKind::Measure) {
      // One misreading after the other.
      const std::array<double, 2> a = operation.misread, b = misread(operation.wires[0]);
      operation.misread = {a[0] * (1 - b[1]) + (1 - a[0]) * b[0], a[1] * (1 - b[0]) + (1 - a[1]) * b[1]};
    }
    result.add(operation);
    if (!is_unitary(operation.kind)) continue;
    const std::vector<int> wires = operation.all_wires();
    for (const Rule& rule : rules_) {
      if (rule.qubits && rule.qubits != int(wires.size())) continue;
      if (!rule.kinds.empty() && std::ranges::count(rule.kinds, operation.kind) == 0) continue;
      if (rule.ordered && rule.on != wires) continue;
      if (!rule.on.empty() && !std::ranges::all_of(wires, [&](int q) { return std::ranges::count(rule.on, q) > 0; }))
        continue;
      const auto add = [&](const std::vector<int>& on) {
        Operation noise{.kind = GateKind::Channel, .wires = on, .angles = {}, .controls = {}, .pauli = {}};
        noise.channel = rule.channel;
        noise.conditions = operation.conditions;
        result.add(std::move(noise));
      };
      if (rule.channel->wires() == 1)
        for (const int q : wires) add({q});
      else if (rule.channel->wires() == int(wires.size()))
        add(wires);
    }
  }
  return result;
}

}  // namespace quanta
