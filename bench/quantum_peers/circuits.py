"""The circuits of the comparison as plain lists of (gate, wires, angle or None), so that every peer gets the same work."""

import itertools
import math


def weyl():
    """Angles that any language can repeat: the k-th, from 1, is 2 pi times the fraction of k / golden ratio."""
    return (2 * math.pi * (k * 0.6180339887498949 % 1) for k in itertools.count(1))


def layered(qubits, layers=4):
    """RY on every qubit, then layers of RX, RY, RZ on every qubit and a ring of CNOTs; 13 angles a qubit."""
    angles = weyl()
    gates = [("RY", (q,), next(angles)) for q in range(qubits)]
    for _ in range(layers):
        for q in range(qubits):
            gates += [(name, (q,), next(angles)) for name in ("RX", "RY", "RZ")]
        gates += [("CX", (q, (q + 1) % qubits), None) for q in range(qubits)]
    return gates


def fourier(qubits):
    """The quantum Fourier transform of a product state, with its final swaps."""
    gates = [("RY", (q,), angle) for q, angle in zip(range(qubits), weyl())]
    for q in reversed(range(qubits)):
        gates.append(("H", (q,), None))
        gates += [("CP", (c, q), math.pi / 2 ** (q - c)) for c in range(q)]
    gates += [("SWAP", (q, qubits - 1 - q), None) for q in range(qubits // 2)]
    return gates
