"""One measurement of one peer, in a process of its own:

    python peers.py PEER CASE QUBITS [--threads 1] [--batch 64] [--seconds 2]

CASE: gradient (value of sum Z and its derivatives by all angles, a batch of samples one after the other or as the peer
offers it), jacobian (of each Z), state, fourier, noise (depolarizing 0.01 behind every gate on every touched qubit, <sum Z>),
samples (10^6 of a state, its preparation included). Prints a line of JSON with CPU and wall seconds a sample, medians over
the repeats; objects that a user makes once are made outside the clock.
"""

import argparse
import json
import os
import statistics
import time

parser = argparse.ArgumentParser()
parser.add_argument("peer")
parser.add_argument("case", choices=["gradient", "jacobian", "state", "fourier", "noise", "samples"])
parser.add_argument("qubits", type=int)
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--batch", type=int, default=1)
parser.add_argument("--seconds", type=float, default=2)
parser.add_argument("--check", action="store_true")
options = parser.parse_args()
os.environ["OMP_NUM_THREADS"] = str(options.threads)
os.environ.pop("OPENBLAS_CORETYPE", None)

import circuits  # noqa: E402

n, shots, noise = options.qubits, 10**6, 0.01
gates = circuits.fourier(n) if options.case == "fourier" else circuits.layered(n)


class Refused(Exception):
    """The peer lacks the case."""


def lightning(precision):
    import numpy as np
    import pennylane as qml

    names = {"RX": qml.RX, "RY": qml.RY, "RZ": qml.RZ, "CX": qml.CNOT, "H": qml.Hadamard, "CP": qml.ControlledPhaseShift,
             "SWAP": qml.SWAP}
    device = qml.device("lightning.qubit", wires=n, c_dtype=np.complex64 if precision == 32 else np.complex128)
    operations = [names[g](*([a] if a is not None else []), wires=w) for g, w, a in gates]
    config = qml.devices.ExecutionConfig(gradient_method="adjoint", use_device_gradient=True)
    if options.case == "gradient":
        tape = qml.tape.QuantumScript(operations, [qml.expval(qml.sum(*(qml.Z(q) for q in range(n))))])
        return lambda: [device.execute_and_compute_derivatives(tape, config) for _ in range(options.batch)]
    if options.case == "jacobian":
        tape = qml.tape.QuantumScript(operations, [qml.expval(qml.Z(q)) for q in range(n)])
        return lambda: [device.execute_and_compute_derivatives(tape, config) for _ in range(options.batch)]
    if options.case in ("state", "fourier"):
        tape = qml.tape.QuantumScript(operations, [qml.state()])
        return lambda: device.execute(tape)
    if options.case == "samples":
        tape = qml.tape.QuantumScript(operations, [qml.sample()], shots=shots)
        return lambda: device.execute(tape)
    raise Refused("no channels")


def qulacs():
    import qulacs as q

    circuit = q.ParametricQuantumCircuit(n)
    noisy = options.case == "noise"
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
            phase = q.gate.U1(wires[1], angle)
            matrix = q.gate.to_matrix_gate(phase)
            matrix.add_control_qubit(wires[0], 1)
            circuit.add_gate(matrix)
        if noisy:
            for w in wires:
                circuit.add_gate(q.gate.DepolarizingNoise(w, noise * 3 / 4))
    observable = q.Observable(n)
    for w in range(n):
        observable.add_operator(1.0, f"Z {w}")
    state = q.DensityMatrix(n) if noisy else q.QuantumState(n)

    def run():
        state.set_zero_state()
        circuit.update_quantum_state(state)

    if options.case == "gradient":
        def gradient():
            for _ in range(options.batch):
                run()
                observable.get_expectation_value(state)
                circuit.backprop(observable)
        return gradient
    if noisy:
        return lambda: (run(), observable.get_expectation_value(state))
    if options.case in ("state", "fourier"):
        return run
    if options.case == "samples":
        return lambda: (run(), state.sampling(shots))
    raise Refused("one observable a gradient")


def qsim():
    import cirq
    import qsimcirq

    if options.case in ("gradient", "jacobian", "noise"):
        raise Refused("no gradients, no density matrices")
    qubits = cirq.LineQubit.range(n)
    names = {"RX": cirq.rx, "RY": cirq.ry, "RZ": cirq.rz, "CP": lambda a: cirq.CZPowGate(exponent=a / 3.141592653589793)}
    fixed = {"CX": cirq.CNOT, "H": cirq.H, "SWAP": cirq.SWAP}
    circuit = cirq.Circuit((fixed[g] if a is None else names[g](a))(*(qubits[w] for w in ws)) for g, ws, a in gates)
    simulator = qsimcirq.QSimSimulator(qsimcirq.QSimOptions(cpu_threads=options.threads, max_fused_gate_size=3))
    if options.case == "samples":
        circuit.append(cirq.measure(*qubits))
        return lambda: simulator.run(circuit, repetitions=shots)
    return lambda: simulator.simulate(circuit)


def mindquantum():
    import mindquantum as mq
    import numpy as np
    from mindquantum.core.circuit import Circuit
    from mindquantum.core.gates import CNOT, H, SWAP, DepolarizingChannel, PhaseShift, RX, RY, RZ
    from mindquantum.core.operators import Hamiltonian, QubitOperator
    from mindquantum.simulator import Simulator

    names = {"RX": RX, "RY": RY, "RZ": RZ}
    learns = options.case in ("gradient", "jacobian")
    encoder, ansatz, values = Circuit(), Circuit(), []
    for k, (gate, wires, angle) in enumerate(gates):
        part = encoder if k < n else ansatz
        if gate in names:
            part += names[gate](f"a{k}" if learns else angle).on(wires[0])
            values.append(angle)
        elif gate == "CP":
            part += PhaseShift(angle).on(wires[1], wires[0])
        else:
            part += {"CX": lambda: CNOT.on(wires[1], wires[0]), "H": lambda: H.on(wires[0]),
                     "SWAP": lambda: SWAP.on(list(wires))}[gate]()
        if options.case == "noise":
            for w in wires:
                part += DepolarizingChannel(noise * 3 / 4).on(w)
    single = mq.complex64
    simulator = Simulator("mqmatrix" if options.case == "noise" else "mqvector", n,
                          dtype=mq.complex128 if options.case == "noise" else single)
    z = [QubitOperator(f"Z{w}") for w in range(n)]
    if learns:
        terms = z if options.case == "jacobian" else [sum(z[1:], z[0])]
        observables = [Hamiltonian(term, dtype=single) for term in terms]
        circuit = encoder.as_encoder() + ansatz.as_ansatz()
        function = simulator.get_expectation_with_grad(observables, circuit, parallel_worker=options.threads)
        inputs = np.tile(np.array(values[:n]), (options.batch, 1))
        return lambda: function(inputs, np.array(values[n:]))
    circuit = encoder + ansatz
    if options.case == "samples":
        raise Refused("takes minutes")

    def run():
        simulator.reset()
        simulator.apply_circuit(circuit)
        if options.case == "noise":
            simulator.get_expectation(Hamiltonian(sum(z[1:], z[0]), dtype=mq.complex128))
    return run


def aer(precision):
    from qiskit import QuantumCircuit, transpile
    from qiskit.quantum_info import SparsePauliOp
    from qiskit_aer import AerSimulator
    from qiskit_aer.noise import NoiseModel, depolarizing_error

    if options.case in ("gradient", "jacobian"):
        raise Refused("no gradients")
    circuit = QuantumCircuit(n)
    for gate, wires, angle in gates:
        getattr(circuit, gate.lower())(*([angle] if angle is not None else []), *wires)
    extra = {}
    method = "statevector"
    if options.case == "noise":
        method = "density_matrix"
        model = NoiseModel()
        one = depolarizing_error(noise, 1)
        model.add_all_qubit_quantum_error(one, ["rx", "ry", "rz"])
        model.add_all_qubit_quantum_error(one.tensor(one), ["cx"])
        extra["noise_model"] = model
        circuit.save_expectation_value(SparsePauliOp.from_sparse_list([("Z", [q], 1) for q in range(n)], n), range(n))
    elif options.case == "samples":
        circuit.measure_all()
    else:
        circuit.save_statevector()
    simulator = AerSimulator(method=method, precision="single" if precision == 32 else "double",
                             max_parallel_threads=options.threads, **extra)
    compiled = transpile(circuit, simulator, optimization_level=0)
    return lambda: simulator.run(compiled, shots=shots if options.case == "samples" else 1).result()


def torchquantum():
    import torch
    import torchquantum as tq

    torch.set_num_threads(options.threads)
    if options.case != "gradient":
        raise Refused("measured for gradients only")
    angles = [torch.tensor([[a]] * options.batch) if a is not None else None for _, _, a in gates]
    for a in angles:
        if a is not None:
            a.requires_grad_()
    apply = {"RX": tq.functional.rx, "RY": tq.functional.ry, "RZ": tq.functional.rz}

    def run():
        device = tq.QuantumDevice(n_wires=n, bsz=options.batch)
        for (gate, wires, _), angle in zip(gates, angles):
            if angle is None:
                tq.functional.cnot(device, wires=list(wires))
            else:
                apply[gate](device, wires=list(wires), params=angle)
        tq.MeasureAll(tq.PauliZ)(device).sum().backward()
    return run


peers = {"lightning": lambda: lightning(32), "lightning64": lambda: lightning(64), "qulacs": qulacs, "qsim": qsim,
         "mindquantum": mindquantum, "aer": lambda: aer(32), "aer64": lambda: aer(64), "torchquantum": torchquantum}
try:
    work = peers[options.peer]()
    work()  # the first call allocates and compiles
except Refused as reason:
    print(json.dumps({"peer": options.peer, "case": options.case, "qubits": n, "refused": str(reason)}))
    raise SystemExit(0)
cpu, wall, begin = [], [], time.perf_counter()
while len(wall) < 3 or (time.perf_counter() - begin < options.seconds and len(wall) < 200):
    c, w = time.process_time(), time.perf_counter()
    work()
    cpu.append((time.process_time() - c) / options.batch)
    wall.append((time.perf_counter() - w) / options.batch)
print(json.dumps({"peer": options.peer, "case": options.case, "qubits": n, "threads": options.threads,
                  "batch": options.batch, "cpu": statistics.median(cpu), "wall": statistics.median(wall)}))
