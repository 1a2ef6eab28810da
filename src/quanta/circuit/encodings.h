#pragma once

#include <vector>

#include "quanta/circuit/circuit.h"
#include "quanta/circuit/entanglement.h"

namespace quanta {

/// Ways to write a sample's features into a circuit. Each appends to the circuit and returns it; feature j is input(j).
/// On a part of a wider circuit: write them into a circuit of their own and Circuit::append that. See also
/// Circuit::amplitude_encoding.

/// One rotation about `axis` ('X', 'Y' or 'Z') by scale * input(first_input + i) on wires[i] (all wires if none are
/// named). Z does nothing to |0>: put Hadamard gates before it.
Circuit& angle_encoding(Circuit& circuit, char axis = 'Y', std::vector<int> wires = {}, int first_input = 0,
                        double scale = 1);

/// Instantaneous quantum polynomial map (Havlicek et al., Nature 567, 209, 2019) as PennyLane's IQPEmbedding has it:
/// `repeats` times H on every wire, RZ(x_i) on every wire, RZZ(x_i x_j) on every pair. One input a wire.
Circuit& iqp_encoding(Circuit& circuit, int repeats = 1);

/// Qiskit's ZZFeatureMap (arXiv 1804.11326): `repeats` times H and P(2 x_i) on every wire, then for each pair CX,
/// P(2 (pi - x_i)(pi - x_j)) on the second wire, CX. One input a wire.
Circuit& zz_feature_map(Circuit& circuit, int repeats = 2, Entanglement entanglement = Entanglement::Full);

/// Data re-uploading with trainable scaling (Perez-Salinas et al., Quantum 4, 226, 2020): in each layer every wire is
/// rotated by rot(w + v x_0, w + v x_1, w + v x_2), by a further rot for each three more features, all wires seeing the
/// same features; angles without a feature are weights alone. Between layers, CZ on neighbours: (0,1), (2,3), ... and
/// (1,2), (3,4), ... (n-1,0) in turn. Takes layers * wires * (3 ceil(features / 3) + features) new weights.
Circuit& data_reuploading(Circuit& circuit, int layers, int features);

}  // namespace quanta
