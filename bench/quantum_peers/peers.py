"""A peer as a process that answers requests, one a line of the standard input, each with a line of JSON:

    python peers.py PEER THREADS

    time CASE QUBITS BATCH     {"cpu": .., "wall": ..}, seconds a sample, medians over a quarter of a second
    check CASE QUBITS BATCH    {"answer": [..]}, what the last run calculated
    anything it cannot         {"refused": "why"}

The cases, on the circuits of circuits.py:

    gradient   the derivatives of <sum Z> by all angles; the answer's order is that of the gates
    vjp        the derivatives of each <Z_q>, weighted with cos(q + 1) and summed, as a layer behind the circuit asks
    state      all amplitudes of the layered circuit; answered as re, im, re, im, ..., qubit 0 the lowest bit
    fourier    the same of the Fourier transform
    noise      <sum Z> with depolarizing noise behind every gate on every qubit that it touched
    samples    10^6 basis states drawn; answered as the mean of each Z_q

A peer that takes many samples at once gets BATCH of them, the others one after the other. What a user makes once is made
outside the clock: circuits, devices, observables.
"""

import json
import os
import statistics
import sys
import time
from math import cos

os.environ["OMP_NUM_THREADS"] = sys.argv[2]
threads = int(sys.argv[2])
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # libraries print, too

import numpy as np  # noqa: E402

import circuits  # noqa: E402

shots, noise = 10**6, 0.01


class Refused(Exception):
    """The peer lacks the case."""


def amplitudes(state):
    return np.asarray(state).astype(complex).view(float).tolist()


def reversed_bits(n):
    return np.arange(2**n).reshape([2] * n).transpose().reshape(-1)


def upstream(case, n):
    return [cos(q + 1) if case == "vjp" else 1.0 for q in range(n)]


# Each peer: (case, qubits, gates, batch) -> (run, answer of what run returned, samples a run).


def lightning(case, n, gates, batch, wide=False):
    import pennylane as qml

    names = {"RX": qml.RX, "RY": qml.RY, "RZ": qml.RZ, "CX": qml.CNOT, "H": qml.Hadamard, "CP": qml.ControlledPhaseShift,
             "SWAP": qml.SWAP}
    device = qml.device("lightning.qubit", wires=n, c_dtype=np.complex128 if wide else np.complex64)
    operations = [names[g](*([a] if a is not None else []), wires=w) for g, w, a in gates]
    config = qml.devices.ExecutionConfig(gradient_method="adjoint", use_device_gradient=True)
    if case == "gradient":
        tape = qml.tape.QuantumScript(operations, [qml.expval(qml.sum(*(qml.Z(q) for q in range(n))))])
        return lambda: device.execute_and_compute_derivatives(tape, config), lambda r: np.ravel(r[1]).tolist(), 1
    if case == "vjp":
        tape = qml.tape.QuantumScript(operations, [qml.expval(qml.Z(q)) for q in range(n)])
        cotangent = tuple(np.array(u) for u in upstream(case, n))
        return lambda: device.execute_and_compute_vjp(tape, cotangent, config), lambda r: np.ravel(r[1]).tolist(), 1
    if case in ("state", "fourier"):
        tape = qml.tape.QuantumScript(operations, [qml.state()])
        return lambda: device.execute(tape), lambda r: amplitudes(np.asarray(r)[reversed_bits(n)]), 1
    if case == "samples":
        tape = qml.tape.QuantumScript(operations, [qml.sample()], shots=shots)
        return lambda: device.execute(tape), lambda r: (1 - 2 * np.asarray(r).mean(0)).tolist(), 1
    raise Refused("no channels")


def qulacs(case, n, gates, batch):
    import qulacs as q

    circuit = q.ParametricQuantumCircuit(n)
    for gate, wires, angle in gates:
        if gate in ("RX", "RY", "RZ"):
            # qulacs turns the other way round: exp(+i angle/2 P).
            getattr(circuit, f"add_parametric_{gate}_gate")(wires[0], -angle)
        elif gate == "CX":
            circuit.add_CNOT_gate(*wires)
        elif gate == "H":
            circuit.add_H_gate(wires[0])
        elif gate == "SWAP":
            circuit.add_SWAP_gate(*wires)
        else:
            matrix = q.gate.to_matrix_gate(q.gate.U1(wires[1], angle))
            matrix.add_control_qubit(wires[0], 1)
            circuit.add_gate(matrix)
        if case == "noise":
            for w in wires:  # the probability of an error X, Y or Z
                circuit.add_gate(q.gate.DepolarizingNoise(w, noise * 3 / 4))
    observable = q.Observable(n)
    for w, u in enumerate(upstream(case, n)):
        observable.add_operator(u, f"Z {w}")
    if case in ("gradient", "vjp"):
        return lambda: circuit.backprop(observable), lambda r: [-g for g in r], 1
    state = q.DensityMatrix(n) if case == "noise" else q.QuantumState(n)

    def run():
        state.set_zero_state()
        circuit.update_quantum_state(state)
        if case == "noise":
            return observable.get_expectation_value(state)
        return state.sampling(shots) if case == "samples" else state

    if case == "noise":
        return run, lambda r: [float(np.real(r))], 1
    if case == "samples":
        return run, lambda r: [float(np.mean(1 - 2 * (np.array(r) >> w & 1))) for w in range(n)], 1
    return run, lambda r: amplitudes(r.get_vector()), 1


def mindquantum(case, n, gates, batch):
    import mindquantum as mq
    from mindquantum.core.circuit import Circuit
    from mindquantum.core.gates import CNOT, H, SWAP, PauliChannel, PhaseShift, RX, RY, RZ
    from mindquantum.core.operators import Hamiltonian, QubitOperator
    from mindquantum.simulator import Simulator

    if case == "samples":
        raise Refused("takes minutes")
    names = {"RX": RX, "RY": RY, "RZ": RZ}
    learns = case in ("gradient", "vjp")
    encoder, ansatz, values = Circuit(), Circuit(), []
    for k, (gate, wires, angle) in enumerate(gates):
        part = encoder if k < n else ansatz
        if gate in names:
            part += names[gate](f"a{k}" if learns else angle).on(wires[0])
            values.append(angle)
        elif gate == "CP":
            part += PhaseShift(angle).on(wires[1], wires[0])
        elif gate == "H":
            part += H.on(wires[0])
        else:
            part += CNOT.on(wires[1], wires[0]) if gate == "CX" else SWAP.on(list(wires))
        if case == "noise":
            for w in wires:  # DepolarizingChannel never returns on a density matrix (0.12.0)
                part += PauliChannel(noise / 4, noise / 4, noise / 4).on(w)
    kind = mq.complex128 if case == "noise" else mq.complex64
    simulator = Simulator("mqmatrix" if case == "noise" else "mqvector", n, dtype=kind)
    z = [QubitOperator(f"Z{w}") for w in range(n)]
    total = Hamiltonian(sum(z[1:], z[0]), dtype=kind)
    if learns:
        observables = [Hamiltonian(term, dtype=kind) for term in z] if case == "vjp" else [total]
        function = simulator.get_expectation_with_grad(observables, encoder.as_encoder() + ansatz.as_ansatz(),
                                                       parallel_worker=threads)
        inputs, weights = np.tile(np.array(values[:n]), (batch, 1)), np.array(values[n:])

        def answer(r):
            weighted = np.array(upstream(case, len(observables))) @ np.concatenate([r[1][0], r[2][0]], axis=1)
            return np.real(weighted).tolist()
        return lambda: function(inputs, weights), answer, batch
    circuit = encoder + ansatz

    def run():
        simulator.reset()
        simulator.apply_circuit(circuit)
        if case == "noise":
            return simulator.get_expectation(total)
    if case == "noise":
        return run, lambda r: [float(np.real(r))], 1
    return run, lambda r: amplitudes(simulator.get_qs()), 1


def aer(case, n, gates, batch, wide=False):
    from qiskit import QuantumCircuit, transpile
    from qiskit.quantum_info import SparsePauliOp
    from qiskit_aer import AerSimulator
    from qiskit_aer.noise import NoiseModel, depolarizing_error

    if case in ("gradient", "vjp"):
        raise Refused("no gradients")
    circuit = QuantumCircuit(n)
    for gate, wires, angle in gates:
        getattr(circuit, gate.lower())(*([angle] if angle is not None else []), *wires)
    extra = {}
    method = "statevector"
    if case == "noise":
        method = "density_matrix"
        one = depolarizing_error(noise, 1)
        extra["noise_model"] = NoiseModel()
        extra["noise_model"].add_all_qubit_quantum_error(one, ["rx", "ry", "rz"])
        extra["noise_model"].add_all_qubit_quantum_error(one.tensor(one), ["cx"])
        circuit.save_expectation_value(SparsePauliOp.from_sparse_list([("Z", [q], 1) for q in range(n)], n), range(n))
    elif case == "samples":
        circuit.measure_all()
    else:
        circuit.save_statevector()
    simulator = AerSimulator(method=method, precision="double" if wide else "single", max_parallel_threads=threads, **extra)
    compiled = transpile(circuit, simulator, optimization_level=0)

    def answer(r):
        if case == "noise":
            return [float(r.data()["expectation_value"])]
        if case == "samples":
            counts = r.get_counts()
            return [sum(c * (1 - 2 * int(bits[n - 1 - q])) for bits, c in counts.items()) / shots for q in range(n)]
        return amplitudes(r.get_statevector())
    return lambda: simulator.run(compiled, shots=shots if case == "samples" else 1).result(), answer, 1


def torchquantum(case, n, gates, batch):
    import torch
    import torchquantum as tq

    if case not in ("gradient", "vjp"):
        raise Refused("measured for gradients only")
    if n * 2**n * batch > 2**24:
        raise Refused("autograd keeps every intermediate state")
    torch.set_num_threads(threads)
    angles = [torch.tensor([[a]] * batch, requires_grad=True) if a is not None else None for _, _, a in gates]
    apply = {"RX": tq.functional.rx, "RY": tq.functional.ry, "RZ": tq.functional.rz}
    weights = torch.tensor(upstream(case, n))
    parameters = [a for a in angles if a is not None]

    def run():
        device = tq.QuantumDevice(n_wires=n, bsz=batch)
        for (gate, wires, _), angle in zip(gates, angles):
            if angle is None:
                tq.functional.cnot(device, wires=list(wires))
            else:
                apply[gate](device, wires=list(wires), params=angle)
        return torch.autograd.grad((tq.MeasureAll(tq.PauliZ)(device) * weights).sum(), parameters)
    return run, lambda r: [float(g[0, 0]) for g in r], batch


peers = {"lightning": lightning, "qulacs": qulacs, "mindquantum": mindquantum, "aer": aer, "torchquantum": torchquantum,
         "lightning64": lambda *a: lightning(*a, wide=True), "aer64": lambda *a: aer(*a, wide=True)}


def answer_request(verb, case, qubits, batch, kept={}):
    key = case, int(qubits), int(batch)
    if key != kept.get("key"):
        kept.clear()
        gates = circuits.fourier(key[1]) if case == "fourier" else circuits.layered(key[1])
        run, answer, samples = peers[sys.argv[1]](case, key[1], gates, key[2])
        begin = time.perf_counter()
        run()  # the first one allocates and compiles
        first, runs = time.perf_counter(), 1
        if first - begin < 0.05:
            run()
            runs = max(1, int(0.005 / (time.perf_counter() - first)))
        kept.update(key=key, run=run, answer=answer, samples=samples, runs=runs)
    run, runs = kept["run"], kept["runs"]
    if verb == "check":
        return {"answer": kept["answer"](run())}
    cpu, wall, begin = [], [], time.perf_counter()
    while not cpu or time.perf_counter() - begin < 0.25:
        c, w = time.process_time(), time.perf_counter()
        for _ in range(runs):
            run()
        cpu.append((time.process_time() - c) / runs / kept["samples"])
        wall.append((time.perf_counter() - w) / runs / kept["samples"])
    return {"cpu": statistics.median(cpu), "wall": statistics.median(wall)}


for line in sys.stdin:
    try:
        reply = answer_request(*line.split())
    except Exception as reason:
        reply = {"refused": (str(reason).splitlines() or [type(reason).__name__])[0][:200]}
    print(json.dumps(reply), file=answers, flush=True)
