#include "quanta/circuit/transpile.h"

#include <algorithm>
#include <numeric>

#include "quanta/circuit/passes.h"
#include "quanta/core/error.h"

namespace quanta {
namespace {

using passes::Basis;
using passes::Operations;

constexpr int kTrials[] = {1, 4, 12, 40};  // of routing, by level
constexpr int kRounds = 5;                 // of optimization, at most

size_t pairs(const Operations& operations) {
  return size_t(std::ranges::count_if(
      operations, [](const Operation& o) { return is_unitary(o.kind) && o.all_wires().size() > 1; }));
}

void optimize(Operations& operations, int wires, const Basis& basis, int level) {
  if (level == 0) return;
  for (int round = 0; round < kRounds; ++round) {
    const std::pair before(pairs(operations), operations.size());
    if (basis.continuous())
      passes::fuse(operations, wires);
    else
      passes::name_rotations(operations);
    passes::cancel(operations, wires);
    if (level >= 2 && basis.continuous() && pairs(operations) > 0) passes::consolidate(operations, wires, basis);
    if (std::pair(pairs(operations), operations.size()) >= before) break;
  }
}

}  // namespace

CircuitCost cost(const Circuit& circuit) {
  CircuitCost result;
  result.depth = circuit.depth();
  for (const Operation& operation : circuit.operations()) {
    if (operation.kind == GateKind::Barrier) continue;
    const GateInfo& info = gate_info(operation.kind);
    std::string name(operation.controls.size(), 'c');
    name += info.qasm.empty() ? info.name : info.qasm;
    ++result.gates[name];
    if (is_unitary(operation.kind) && operation.all_wires().size() > 1) ++result.two_qubit;
  }
  return result;
}

Transpiled transpile(const Circuit& circuit, const TranspileOptions& options) {
  require(options.optimization >= 0 && options.optimization <= 3, "optimization level {}: expected 0..3",
          options.optimization);
  const int level = options.optimization;
  const bool routed = options.coupling.wires > 0 || !options.coupling.edges.empty();
  std::vector<std::string> names = options.basis;
  if (routed) {
    passes::check(options.coupling, circuit.wires());
    require(!circuit.has_amplitude_encoding() || options.coupling.wires == circuit.wires(),
            "amplitude encoding needs a coupling of as many wires as the circuit ({}), got {}", circuit.wires(),
            options.coupling.wires);
    std::erase_if(names, [](const std::string& name) {  // they would need three wires side by side
      const GateInfo* info = find_gate(name);
      return info != nullptr && info->wires > 2;
    });
  }
  const Basis basis(names);

  int wires = circuit.wires();
  Operations operations = passes::lower(circuit.operations(), wires, basis, false);
  std::vector<int> initial(wires);
  std::iota(initial.begin(), initial.end(), 0);
  std::vector<int> final = initial;
  if (routed && level >= 2) final = passes::elide_swaps(operations, wires);
  optimize(operations, wires, basis, level);
  if (routed) {
    wires = options.coupling.wires;
    passes::Routed result = passes::route(operations, circuit.clbits(), options.coupling, kTrials[level],
                                          circuit.has_amplitude_encoding(), options.seed);
    operations = std::move(result.operations);
    for (int& q : final) q = result.final_layout[q];
    for (int& q : initial) q = result.initial_layout[q];
  }
  operations = passes::lower(operations, wires, basis, true);
  optimize(operations, wires, basis, level);
  operations = passes::lower(operations, wires, basis, true);
  operations = passes::translate(operations, wires, basis, level > 0 && basis.continuous());
  if (level > 0) passes::cancel(operations, wires);

  Transpiled result{Circuit(wires), std::move(initial), std::move(final), cost(circuit), {}};
  for (const ClassicalRegister& bits : circuit.registers()) result.circuit.add_register(bits.name, bits.size);
  for (Operation& operation : operations) result.circuit.add(std::move(operation));
  result.circuit.declare(circuit.weights(), circuit.inputs());
  result.after = cost(result.circuit);
  return result;
}

}  // namespace quanta
