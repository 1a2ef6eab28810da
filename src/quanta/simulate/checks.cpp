#include "quanta/simulate/checks.h"

#include <unistd.h>

#include "quanta/core/error.h"

namespace quanta::simulate {

void require_memory(std::string_view what, double bytes) {
  const double memory = double(sysconf(_SC_PHYS_PAGES)) * double(sysconf(_SC_PAGESIZE)), gib = 1 << 30;
  require(bytes < memory, "{} takes {:.1f} GiB, this machine has {:.1f} GiB: use fewer qubits or a smaller batch", what,
          bytes / gib, memory / gib);
}

void require_wires(const std::vector<PauliSum>& observables, int wires) {
  for (const PauliSum& sum : observables)
    require(sum.max_wire() < wires, "observable {}: wire {} is out of range, the circuit has wires 0..{}",
            sum.to_string(), sum.max_wire(), wires - 1);
}

void require_batch(int64_t batch) {
  require(batch >= 0, "the batch size is {}, expected 0 or more", batch);
}

void require_unitary(const Circuit& circuit) {
  for (const Operation& operation : circuit.operations())
    require(operation.conditions.empty() && operation.kind <= GateKind::Barrier,
            "the state vector simulator runs unitary circuits, got {}{}; take the density matrix or trajectories",
            operation.conditions.empty() ? "a " : "a conditional ", gate_info(operation.kind).name);
}

}  // namespace quanta::simulate
