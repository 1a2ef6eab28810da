#include "quanta/nn/quantum_dense.h"

#include <string_view>

#include "quanta/core/error.h"

namespace quanta {

Circuit quantum_dense_circuit(const QuantumDenseOptions& options) {
  const int n = options.qubits;
  require(n >= 1, "a quantum dense layer needs at least 1 qubit, got {}", n);
  require(options.depth >= 0, "the depth of a quantum dense layer must not be negative, got {}", options.depth);
  require(options.embedding == 'X' || options.embedding == 'Y',
          "the embedding axis must be X or Y (a Z rotation does nothing to |0>), got {}", options.embedding);
  require(std::string_view("XYZ").find(options.readout) != std::string_view::npos,
          "the read-out must be X, Y or Z, got {}", options.readout);
  Circuit c(n);
  for (int q = 0; q < n; ++q) options.embedding == 'X' ? c.rx(q, input(q)) : c.ry(q, input(q));
  for (int layer = 0; layer < options.depth; ++layer) {
    for (int q = 0; q < n; ++q) c.rot(q, weight(), weight(), weight());
    if (n == 1) continue;
    const int reach = options.entangler == Entangler::Strong ? 1 + layer % (n - 1) : 1;
    for (int q = 0; q < n; ++q) c.cnot(q, (q + reach) % n);
  }
  return c;
}

QuantumDenseImpl::QuantumDenseImpl(const QuantumDenseOptions& options)
    : QuantumLayerImpl(quantum_dense_circuit(options), each(options.readout, options.qubits),
                       {.seed = options.seed, .name = "QuantumDense"}) {}

ParallelQuantumImpl::ParallelQuantumImpl(int circuits, const QuantumDenseOptions& options)
    : QuantumLayerImpl(quantum_dense_circuit(options), each(options.readout, options.qubits),
                       {.seed = options.seed, .copies = circuits, .name = "ParallelQuantum"}) {}

}  // namespace quanta
