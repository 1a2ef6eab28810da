#pragma once

#include "quanta/nn/quantum_layer.h"

namespace quanta {

enum class Entangler {
  Ring,    // CNOT(q, q+1 mod n) in every layer
  Strong,  // CNOT(q, q+r mod n), r = 1 + (layer mod (n-1))
};

struct QuantumDenseOptions {
  int qubits = 5;        // n
  int depth = 3;         // layers of 3 n trainable angles; 0: embedding and read-out only
  char embedding = 'X';  // feature x_q rotates qubit q about this axis: 'X' or 'Y'
  Entangler entangler = Entangler::Ring;
  char readout = 'Y';  // the Pauli operator measured on every qubit: 'X', 'Y' or 'Z'
  uint64_t seed = 0;   // the angles start in U[0, 2 pi)
};

/// PQC(n, depth) of arXiv 2304.09224: R_embedding(x_q) on every qubit, then `depth` times [RZ, RY, RZ on every qubit;
/// CNOTs]. Weight (l, q, k), the k-th angle of qubit q in layer l, has index (l * n + q) * 3 + k.
Circuit quantum_dense_circuit(const QuantumDenseOptions& options);

/// A dense layer made of one circuit: [..., n] -> [..., n]; weights [1, depth * n * 3].
class QuantumDenseImpl : public QuantumLayerImpl {
 public:
  explicit QuantumDenseImpl(const QuantumDenseOptions& options = {});
};
TORCH_MODULE(QuantumDense);

/// `circuits` of them side by side, each with weights of its own, on consecutive groups of n features:
/// [..., circuits * n] -> [..., circuits * n]; weights [circuits, depth * n * 3].
class ParallelQuantumImpl : public QuantumLayerImpl {
 public:
  explicit ParallelQuantumImpl(int circuits, const QuantumDenseOptions& options = {});
};
TORCH_MODULE(ParallelQuantum);

}  // namespace quanta
