"""Measures Quanta and other simulators side by side; writes the table into README.md and the figure.

    python run.py PEERS            measure everything, less than 12 minutes
    python run.py PEERS --check    compare what they calculate instead

PEERS is the folder with what README.md says how to build. A peer that is not there, or lacks a case, is "-" in the table.
"""

import argparse
import json
import os
import pathlib
import re
import select
import statistics
import subprocess
import sys
import time

here = pathlib.Path(__file__).resolve().parent
parser = argparse.ArgumentParser()
parser.add_argument("peers", type=pathlib.Path)
parser.add_argument("--build", type=pathlib.Path, default=here / "../../build", help="Quanta's build folder")
parser.add_argument("--check", action="store_true")
parser.add_argument("--rows", default="", help="only rows whose title matches this regular expression; README.md stays")
parser.add_argument("--rounds", type=int, default=5)
options = parser.parse_args()

python = [options.peers / "venv/bin/python", here / "peers.py"]
commands = {
    "quanta": lambda threads: [options.build / "bin/quanta_peer", threads],
    "quanta64": lambda threads: [options.build / "bin/quanta_peer", threads, "double"],
    "qsim": lambda threads: [options.peers / "bin/qsim", threads],
    "quest": lambda threads: [options.peers / "bin/quest", threads],
    "quest64": lambda threads: [options.peers / "bin/quest64", threads],
    "torchquantum": lambda threads: [options.peers / "tq/bin/python", here / "peers.py", "torchquantum", threads],
} | {name: lambda threads, name=name: [*python, name, threads]
     for name in ("lightning", "lightning64", "qulacs", "mindquantum", "aer", "aer64")}
titles = {"qsim": "qsim", "lightning": "Lightning", "mindquantum": "MindQuantum", "qulacs": "qulacs", "aer": "Aer",
          "quest": "QuEST", "torchquantum": "TorchQuantum"}


def title(peer):
    return titles[peer.removesuffix("64")]


class Peer:
    """A process that answers requests (see peers.py), started when first asked."""

    def __init__(self, name, threads=1):
        self.command = [str(word) for word in commands[name](threads)]
        self.process, self.started = None, 0.0

    def start(self):
        if self.process is None:
            environment = {k: v for k, v in os.environ.items() if k not in ("OPENBLAS_CORETYPE", "OMP_NUM_THREADS")}
            self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                            stderr=subprocess.DEVNULL, text=True, env=environment)
            self.ask("check state 3 1")  # imports what it needs
            if self.process is None:
                raise RuntimeError("does not start")
            self.started = time.perf_counter()

    def ask(self, request, patience=90):
        try:
            self.start()
            print(request, file=self.process.stdin, flush=True)
            if not select.select([self.process.stdout], [], [], patience)[0]:
                raise RuntimeError(f"took more than {patience} s")
            reply = self.process.stdout.readline()
            if not reply:
                raise RuntimeError("crashed")
            return json.loads(reply)
        except (OSError, RuntimeError) as reason:
            self.stop()
            return {"refused": str(reason)}

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.communicate()
            self.process = None


class Row:
    def __init__(self, name, case, qubits, batch=1, peers=(), quanta="quanta", aim=None):
        self.name, self.case, self.qubits, self.batch = name, case, qubits, batch
        self.quanta, self.peers, self.aim = quanta, peers, aim
        self.request = f"{case} {qubits} {batch}"
        self.results = {}


# The aims are ratios to the fastest peer.
gradients = ("qsim", "lightning", "mindquantum", "qulacs", "torchquantum")
states = ("qsim", "lightning", "mindquantum", "qulacs", "aer", "quest")
aims = {16: 9.5 / 1.8, 20: 320 / 50}
rows = [Row(f"gradient, {n} qubits, batch 64", "gradient", n, 64, gradients) for n in (4, 6, 8, 10, 12)]
rows += [Row("gradient of each Z, 8 qubits, batch 64", "vjp", 8, 64, gradients)]
rows += [Row(f"gradient, {n} qubits", "gradient", n, 1, gradients, aim=aims.get(n)) for n in (4, 8, 12, 14, 16, 18, 20)]
aims = {20: 13.4 / 7, 22: 78 / 37, 24: 419 / 170, 26: 1710 / 780}
rows += [Row(f"state, {n} qubits", "state", n, 1, states, aim=aims[n]) for n in (20, 22, 24, 26)]
rows += [Row("state in double, 24 qubits", "state", 24, 1, ("lightning64", "aer64"), "quanta64", 4.3 / 0.4),
         Row("Fourier transform, 20 qubits", "fourier", 20, 1, states),
         Row("Fourier transform, 24 qubits", "fourier", 24, 1, states, aim=1.9 / 0.2)]
aims = {8: 37 / 0.5, 10: 778 / 10}
rows += [Row(f"noisy density matrix in double, {n} qubits", "noise", n, 1, ("qulacs", "mindquantum", "aer64", "quest64"),
             aim=aims.get(n)) for n in (6, 8, 10)]
rows += [Row("10^6 samples, 20 qubits", "samples", 20, 1, states)]
pairs = [Row("gradient, 8 qubits, batch 64", "gradient", 8, 64, ("qsim", "mindquantum", "torchquantum")),
         Row("gradient, 12 qubits, batch 64", "gradient", 12, 64, ("qsim", "mindquantum", "torchquantum")),
         Row("state, 24 qubits", "state", 24, 1, ("qsim",))]
rows, pairs = ([row for row in some if re.search(options.rows, row.name)] for some in (rows, pairs))


def say(*words):
    print(*words, file=sys.stderr, flush=True)


def text(seconds):
    for unit, size in (("us", 1e-6), ("ms", 1e-3)):
        if seconds < 0.9995e3 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def check():
    """Small sizes, and one beyond the processor's cache of each kind; relative to the largest number of the answer. Means of
    samples differ by chance, 0.0014 in standard deviation."""
    cases = [("gradient", 4, 2), ("gradient", 8, 64), ("gradient", 16, 1), ("vjp", 8, 64), ("state", 8, 1), ("state", 17, 1),
             ("fourier", 8, 1), ("fourier", 17, 1), ("noise", 4, 1), ("noise", 6, 1), ("samples", 4, 1), ("samples", 15, 1)]
    others = [name for name in commands if name != "quanta"]
    print("| case, qubits | " + " | ".join(others) + " |")
    print("| --- |" + " ---: |" * len(others))
    peers = {name: Peer(name) for name in commands}
    wrong = []
    for case, qubits, batch in cases:
        request = f"check {case} {qubits} {batch}"
        reference = peers["quanta"].ask(request)["answer"]
        scale = 1 if case == "samples" else max(map(abs, reference))
        cells = []
        for name in others:
            reply = peers[name].ask(request)
            if "refused" in reply:
                cells.append("-")
                continue
            other = reply["answer"]
            error = max(abs(a - b) for a, b in zip(reference, other, strict=True)) / scale
            allowed = {"samples": 0.006, "noise": 1e-5 if name in ("quest", "aer") else 1e-9}.get(case, 1e-4)
            cells.append(f"{error:.0e}" + (" WRONG" if not error < allowed else ""))
            if not error < allowed:
                wrong.append(f"{name}: {case}, {qubits} qubits")
        print(f"| {case}, {qubits} | " + " | ".join(cells) + " |", flush=True)
    for peer in peers.values():
        peer.stop()
    if wrong:
        sys.exit("different work: " + "; ".join(wrong))


def measure(row, processes, seconds=4.0, limit=6.0):
    """Rounds in which Quanta and all peers take turns, so that a busy neighbour meets all of them. Left out is a peer whose
    run would take more than `limit` seconds, judged by the row of fewer qubits before."""
    for key in processes:
        before = [r for r in rows if (r.case, r.quanta, r.batch) == (row.case, row.quanta, row.batch) and r.qubits < row.qubits
                  and r.results.get(key)]
        if before:
            growth = (4 if row.case == "noise" else 2) ** (row.qubits - before[-1].qubits)
            if before[-1].results[key]["cpu"] * growth > limit:
                row.results[key] = None
    spent = dict.fromkeys(processes, 0.0)
    readings = {key: [] for key in processes}
    for _ in range(options.rounds):
        for key, peer in processes.items():
            if key in row.results or spent[key] > seconds:
                continue
            begin = time.perf_counter()
            reply = peer.ask("time " + row.request)
            spent[key] += time.perf_counter() - max(begin, peer.started)
            if "refused" in reply:
                row.results[key] = None
                say(row.name, key, reply["refused"])
            else:
                readings[key].append(reply)
    for key, some in readings.items():
        if some:
            row.results[key] = {what: statistics.median(r[what] for r in some) for what in ("cpu", "wall")} | {
                "least": min(r["wall"] for r in some)}
            say(row.name, key, text(row.results[key]["cpu"]), f"{len(some)} readings, {spent[key]:.1f} s")


def compare():
    began = time.perf_counter()
    peers = {name: Peer(name) for name in commands}
    for row in rows:
        measure(row, {name: peers[name] for name in (row.quanta, *row.peers)})
        if row.qubits > 22:  # what these hold would not fit into memory beside the others
            for peer in peers.values():
                peer.stop()
    for peer in peers.values():
        peer.stop()
    for row in pairs:
        processes = {(name, threads): Peer(name, threads) for name in ("quanta", *row.peers) for threads in (1, 2)}
        measure(row, processes, 2.5)
        for peer in processes.values():
            peer.stop()
    return time.perf_counter() - began


def table():
    columns = list(titles)
    lines = ["| CPU time a sample | Quanta | " + " | ".join(titles.values()) + " | ahead | aim |",
             "| --- |" + " ---: |" * (len(columns) + 3)]
    for row in rows:
        mine = row.results[row.quanta]["cpu"]
        theirs = {name.removesuffix("64"): r["cpu"] for name, r in row.results.items() if r and name != row.quanta}
        best = min(theirs.values(), default=None)
        cells = [text(theirs[c]).join(["**"] * 2 if theirs[c] == best else [""] * 2) if c in theirs else "-" for c in columns]
        ahead = f"{best / mine:.1f}x" if best else "-"
        lines.append(f"| {row.name} | {text(mine)} | " + " | ".join(cells) +
                     f" | {ahead} | " + (f"{row.aim:.1f}x |" if row.aim else "|"))
    lines += ["", "| two threads over one, wall time | Quanta | " + " | ".join(titles.values()) + " |",
              "| --- |" + " ---: |" * (len(columns) + 1)]
    for row in pairs:
        def speedup(name):
            one, two = row.results.get((name, 1)), row.results.get((name, 2))
            return f"{one['least'] / two['least']:.2f}x" if one and two else "-"
        lines.append(f"| {row.name} | " + " | ".join(map(speedup, ["quanta", *columns])) + " |")
    return "\n".join(lines)


def draw():
    """One data file a curve: qubits, seconds."""
    data = here / "data"
    data.mkdir(exist_ok=True)
    panels = {"gradient": [r for r in rows if r.case == "gradient" and r.batch == 1],
              "state": [r for r in rows if r.case == "state" and r.quanta == "quanta"],
              "noise": [r for r in rows if r.case == "noise"]}
    for panel, some in panels.items():
        for name in ("quanta", *titles):
            points = [(r.qubits, r.results[key]["cpu"]) for r in some for key in (name, name + "64") if r.results.get(key)]
            (data / f"{panel}_{name}.dat").write_text("".join(f"{n} {seconds:.6g}\n" for n, seconds in points) or "0 1\n")
    subprocess.run(["gnuplot", "plot.gp"], cwd=here, check=True)


if options.check:
    check()
else:
    minutes = compare() / 60
    print(table(), f"\n{minutes:.1f} minutes.")
    if not options.rows:
        page = (here / "README.md").read_text()
        marks = "<!-- run.py -->\n", "<!-- end -->"
        before, rest = page.split(marks[0])
        stamp = time.strftime("%Y-%m-%d")
        (here / "README.md").write_text(before + marks[0] + table() + f"\n\nMeasured on {stamp} in {minutes:.0f} minutes.\n" +
                                        marks[1] + rest.split(marks[1])[1])
        draw()
