"""The circuits of the comparison as plain lists of (gate, wires, angle or None), so that every peer gets the same work."""

import math
import random


def layered(qubits, layers=4, seed=1):
    """RY on every qubit, then layers of RX, RY, RZ on every qubit and a ring of CNOTs; 13 angles a qubit."""
    angle = lambda: stream.uniform(0, 2 * math.pi)
    stream = random.Random(seed)
    gates = [("RY", (q,), angle()) for q in range(qubits)]
    for _ in range(layers):
        for q in range(qubits):
            gates += [(name, (q,), angle()) for name in ("RX", "RY", "RZ")]
        gates += [("CX", (q, (q + 1) % qubits), None) for q in range(qubits)]
    return gates


def fourier(qubits, seed=1):
    """The quantum Fourier transform of a product state, with its final swaps."""
    stream = random.Random(seed)
    gates = [("RY", (q,), stream.uniform(0, 2 * math.pi)) for q in range(qubits)]
    for q in reversed(range(qubits)):
        gates.append(("H", (q,), None))
        gates += [("CP", (c, q), math.pi / 2 ** (q - c)) for c in range(q)]
    gates += [("SWAP", (q, qubits - 1 - q), None) for q in range(qubits // 2)]
    return gates
