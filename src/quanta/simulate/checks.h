#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "quanta/circuit/circuit.h"

/// What several engines ask of a circuit and of this machine.
namespace quanta::simulate {

/// Throws Error if `what` takes more bytes than this machine has memory.
void require_memory(std::string_view what, double bytes);

/// Throws Error if an observable names a wire that is not among `wires`.
void require_wires(const std::vector<PauliSum>& observables, int wires);

/// Throws Error for a negative batch size.
void require_batch(int64_t batch);

/// Throws Error unless a state vector alone can run the circuit.
void require_unitary(const Circuit& circuit);

}  // namespace quanta::simulate
