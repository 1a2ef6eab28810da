#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "quanta/circuit/circuit.h"

namespace quanta {

/// Which noise follows which gate. apply() writes it into a circuit, so every engine that knows channels runs it.
class NoiseModel {
 public:
  /// After each gate on `wires` qubits (controls included) that is in `kinds` and acts within `on`; an empty list means
  /// any. A channel on one wire acts on each wire of the gate, one on k wires on the wires of gates of k qubits only.
  /// Rules add up, in the order in which they were given.
  NoiseModel& after(Channel channel, std::vector<GateKind> kinds = {}, std::vector<int> on = {});
  /// The same with gates of that many qubits only.
  NoiseModel& after_gates_of(int qubits, Channel channel);
  /// After each gate that is in `kinds` (empty: any) and whose wires, controls last, are these in this order, as a
  /// device's calibration names them. A channel on one wire acts on each of them.
  NoiseModel& after_on(std::vector<int> wires, Channel channel, std::vector<GateKind> kinds = {});
  /// Read-out error of every measurement (of one wire's): the probabilities to read 1 for a 0, and 0 for a 1.
  NoiseModel& readout(double one_for_zero, double zero_for_one, std::optional<int> wire = {});

  /// Depolarizing noise p1 after gates on one qubit and p2 on both together after gates on two (depolarizing()'s
  /// convention).
  static NoiseModel depolarizing(double p1, double p2);

  /// The circuit with the channels behind its gates and the read-out errors in its measurements. Channels and
  /// measurements that are in it already stay.
  Circuit apply(const Circuit& circuit) const;

  /// The probabilities to misread a wire.
  std::array<double, 2> misread(int wire) const;

 private:
  struct Rule {
    std::shared_ptr<const Channel> channel;  // the circuit's operations share it
    int qubits = 0;                          // 0: any
    std::vector<GateKind> kinds{};
    std::vector<int> on{};
    bool ordered = false;  // `on` are the gate's wires themselves
  };
  struct Readout {
    std::optional<int> wire;
    std::array<double, 2> misread;
  };
  std::vector<Rule> rules_;
  std::vector<Readout> readout_;
};

}  // namespace quanta
