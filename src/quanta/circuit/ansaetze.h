#pragma once

#include <vector>

#include "quanta/circuit/circuit.h"
#include "quanta/circuit/entanglement.h"

namespace quanta {

/// Trainable layers. Each appends to the circuit, takes new weights in the order of its gates, and returns the circuit.

/// `layers` times one rotation about `axis` on every wire and a closed ring of CNOTs (on two wires one CNOT), as
/// PennyLane's BasicEntanglerLayers. layers * n weights.
Circuit& basic_entangler(Circuit& circuit, int layers, char axis = 'X');

/// `layers` times rot(w, w, w) on every wire and CNOT(q, (q + r) mod n) for every q (Schuld et al., PRA 101, 032308,
/// 2020; PennyLane's StronglyEntanglingLayers). The range r of layer l is ranges[l], or (l mod (n - 1)) + 1.
/// layers * n * 3 weights.
Circuit& strongly_entangling(Circuit& circuit, int layers, const std::vector<int>& ranges = {});

/// `layers` times RX, RY, RZ on every wire and Circuit::cnot_ring (Kandala et al., Nature 549, 242, 2017).
/// layers * n * 3 weights, those of a wire side by side.
Circuit& hardware_efficient(Circuit& circuit, int layers);

/// Qiskit's EfficientSU2: `reps` times RY on every wire, RZ on every wire and CNOTs; then once more RY and RZ.
/// (reps + 1) * 2 n weights.
Circuit& efficient_su2(Circuit& circuit, int reps = 3, Entanglement entanglement = Entanglement::ReverseLinear);

/// Qiskit's RealAmplitudes: `reps` times RY on every wire and CNOTs; then once more RY. (reps + 1) * n weights.
Circuit& real_amplitudes(Circuit& circuit, int reps = 3, Entanglement entanglement = Entanglement::ReverseLinear);

/// One layer of the quantum approximate optimization algorithm (Farhi et al., arXiv 1411.4028): exp(-i gamma c P) for
/// each term c P of the cost, which is exp(-i gamma cost) if the terms commute, and then RX(2 beta) on every wire.
/// Identity terms, a global phase, are left out. The usual start, H on every wire, is up to the caller. All terms share
/// gamma and all wires beta.
Circuit& qaoa_layer(Circuit& circuit, const PauliSum& cost, Angle gamma = weight(), Angle beta = weight());

/// Unitary coupled cluster with single and double excitations, one Trotter step, in the Jordan-Wigner encoding with
/// spins up on even and down on odd wires (arXiv 1805.04340): the Hartree-Fock state of `electrons` (X on the first
/// wires), then each excitation that keeps the spin, from those wires to the others, with one weight: exp(w (T -
/// T^dagger)). All weights 0 give the Hartree-Fock state; the number of electrons stays.
Circuit& uccsd(Circuit& circuit, int electrons);

}  // namespace quanta
