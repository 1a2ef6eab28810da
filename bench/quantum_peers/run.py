"""Measures Quanta and its peers side by side and writes the table and the figure.

    python run.py [--quick] [--threads 1] [--build ../../build] [--python PEER=INTERPRETER ...] [--native PEER=PROGRAM ...]

The cases take turns: for each, Quanta and then every peer, so that a busy neighbour meets all of them. Peers that are not
installed are reported and left out. Writes results.json, table.md and ../../docs/figures/quantum_peers.svg.
A native peer is a program that takes `CASE QUBITS BATCH THREADS SECONDS` and prints the line of JSON that peers.py prints.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys

here = pathlib.Path(__file__).resolve().parent
parser = argparse.ArgumentParser()
parser.add_argument("--quick", action="store_true", help="leave out the largest sizes")
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--build", type=pathlib.Path, default=here / "../../build")
parser.add_argument("--python", action="append", default=[], metavar="PEER=INTERPRETER")
parser.add_argument("--native", action="append", default=[], metavar="PEER=PROGRAM")
parser.add_argument("--seconds", type=float, default=2)
options = parser.parse_args()
interpreters = dict(pair.split("=", 1) for pair in options.python)
native = dict(pair.split("=", 1) for pair in options.native)
environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_CORETYPE"} | {"OMP_NUM_THREADS": str(options.threads)}

# What is measured: title, case of peers.py, qubits, batch, Quanta's program and benchmark, peers (those in double apart).
gradients = ["qsim_adjoint", "lightning", "mindquantum", "qulacs", "torchquantum"]
states = ["qsim", "lightning", "mindquantum", "qulacs", "aer", "quest"]
cases = [(f"gradient, {n} qubits, batch 64", "gradient", n, 64, "simulator", f"Gradient<float>/{n}/64", gradients)
         for n in (4, 8, 12)]
cases += [(f"gradient, {n} qubits", "gradient", n, 1, "simulator", f"Gradient<float>/{n}/1", gradients) for n in (16, 20)]
cases += [("gradient of each Z, 8 qubits, batch 64", "jacobian", 8, 64, "simulator", "GradientOfEach/8/64", gradients)]
cases += [(f"state, {n} qubits", "state", n, 1, "simulator", f"State<float>/{n}", states) for n in (20, 22, 24, 26)]
cases += [("state in double, 24 qubits", "state", 24, 1, "simulator", "State<double>/24", ["lightning64", "qulacs", "aer64"])]
cases += [(f"Fourier transform, {n} qubits", "fourier", n, 1, "simulator", f"Fourier/{n}", states) for n in (20, 24)]
cases += [(f"noisy density matrix, {n} qubits", "noise", n, 1, "simulate", f"DensityExpectations<double>/{n}",
           ["quest", "qulacs", "mindquantum", "aer64"]) for n in (6, 8, 10)]
cases += [("10^6 samples of 20 qubits", "samples", 20, 1, "simulator", "Samples/1000000", states)]


def quanta(program, benchmark, batch):
    command = [options.build / "bin" / f"quanta_{program}_bench", f"--benchmark_filter=^{benchmark}$",
               f"--benchmark_min_time={options.seconds / 6}", "--benchmark_repetitions=5", "--benchmark_format=json"]
    rows = json.loads(subprocess.run(command, env=environment, capture_output=True, check=True, text=True).stdout)["benchmarks"]
    median = next(row for row in rows if row.get("aggregate_name") == "median")
    unit = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1}[median["time_unit"]]
    return {"cpu": median["cpu_time"] * unit / batch, "wall": median["real_time"] * unit / batch}


def measure(peer, case, qubits, batch):
    if peer in native:
        command = [native[peer], case, str(qubits), str(batch), str(options.threads), str(options.seconds)]
    else:
        batch = batch if peer in ("mindquantum", "torchquantum") else min(batch, 4)
        command = [interpreters.get(peer, sys.executable), here / "peers.py", peer, case, str(qubits), "--batch", str(batch),
                   "--threads", str(options.threads), "--seconds", str(options.seconds)]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    except subprocess.TimeoutExpired:
        return {"refused": "took more than 4 minutes"}
    except FileNotFoundError:
        return {"refused": "not installed"}
    if done.returncode or not done.stdout.strip():
        return {"refused": (done.stderr.strip().splitlines() or ["no output"])[-1][:200]}
    return json.loads(done.stdout.strip().splitlines()[-1])


def text(seconds):
    for unit, size in (("us", 1e-6), ("ms", 1e-3)):
        if seconds < 1000 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


results = []
for title, case, qubits, batch, program, benchmark, peers in cases:
    if options.quick and qubits > 22:
        continue
    row = {"title": title, "quanta": quanta(program, benchmark, batch), "peers": {}}
    for peer in peers:
        row["peers"][peer] = measure(peer, case, qubits, batch)
        print(title, peer, row["peers"][peer].get("refused") or text(row["peers"][peer]["cpu"]), file=sys.stderr, flush=True)
    print(title, "Quanta", text(row["quanta"]["cpu"]), file=sys.stderr, flush=True)
    results.append(row)
    (here / "results.json").write_text(json.dumps(results, indent=1))

lines = ["| work | Quanta, CPU (wall) | best peer, CPU (wall) | ahead | the others, CPU |", "| --- | --- | --- | --- | --- |"]
data = []
for row in results:
    measured = sorted((r["cpu"], r["wall"], p) for p, r in row["peers"].items() if "cpu" in r)
    mine = row["quanta"]
    cells = [row["title"], f"{text(mine['cpu'])} ({text(mine['wall'])})"]
    if measured:
        cpu, wall, best = measured[0]
        cells += [f"{best} {text(cpu)} ({text(wall)})", f"{cpu / mine['cpu']:.1f}x",
                  ", ".join(f"{p} {text(c)}" for c, _, p in measured[1:])]
        data.append((row["title"], cpu / mine["cpu"], best))
    else:
        cells += ["-", "-", "-"]
    lines.append("| " + " | ".join(cells) + " |")
(here / "table.md").write_text("\n".join(lines) + "\n")
print("\n".join(lines))

(here / "ahead.dat").write_text("".join(f'"{title}"\t{ratio:.3f}\t"{best}  {ratio:.1f}x"\n' for title, ratio, best in reversed(data)))
subprocess.run(["gnuplot", "plot.gp"], cwd=here, check=True)
(here / "ahead.dat").unlink()
