"""Measures image classifiers in Quanta, LibTorch and ONNX Runtime side by side; writes the table into README.md.

    python run.py [--build BUILD]       with a Python that has onnxruntime and numpy

Each network has random weights (they do not change the work) and is quantized to 8 bits per channel by `quanta_vision_peer`,
which also writes it as ONNX, so all run the same layers. A figure is the median of the rounds in which the contestants take
turns: milliseconds an image, processor time of all threads and wall time.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy
import onnxruntime

here = pathlib.Path(__file__).resolve().parent
parser = argparse.ArgumentParser()
parser.add_argument("--build", type=pathlib.Path, default=here / "../../build", help="Quanta's build folder")
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--networks", default="resnet20,mobilenet_v2")
options = parser.parse_args()
sizes = {"resnet20": 32, "mobilenet_v2": 224}
environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"} | {"GOMP_SPINCOUNT": "1000"}  # as `quanta` sets it


def ask(*words):
    command = [str(options.build / "bin/quanta_vision_peer"), *map(str, words)]
    return json.loads(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)


def time_onnx(file, batch, threads):
    """As quanta_vision_peer does: warm up, then the median call of about half a second."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(file), settings, providers=["CPUExecutionProvider"])
    size = sizes[file.parent.name]
    images = numpy.random.default_rng(0).standard_normal((batch, 3, size, size), dtype=numpy.float32)
    run = lambda: session.run(None, {"input": images})
    run(), run()
    walls, cpus, start = [], [], time.perf_counter()
    while time.perf_counter() - start < 0.5 or len(walls) < 5:
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return {"wall": 1e3 * statistics.median(walls) / batch, "cpu": 1e3 * statistics.median(cpus) / batch}



contestants = {
    "LibTorch float": lambda net, folder, batch, threads: ask("time", net, sizes[net], "float", batch, threads),
    "ONNX Runtime float": lambda net, folder, batch, threads: time_onnx(folder / "float.onnx", batch, threads),
    "ONNX Runtime int8": lambda net, folder, batch, threads: time_onnx(folder / "int8.onnx", batch, threads),
    "Quanta int8": lambda net, folder, batch, threads: ask("time", net, sizes[net], "int8", batch, threads),
}

lines = ["| network | batch | threads | " + " | ".join(f"{name}, ms" for name in contestants) + " | against LibTorch | against ONNX int8 |",
         "| --- " * (5 + len(contestants)) + "|"]
with tempfile.TemporaryDirectory() as scratch:
    for net in options.networks.split(","):
        folder = pathlib.Path(scratch) / net
        folder.mkdir()
        ask("export", net, sizes[net], folder)
        for threads in (1, 2):
            for batch in (1, 32):
                rounds = [{name: run(net, folder, batch, threads) for name, run in contestants.items()} for _ in range(options.rounds)]
                cpu = {name: statistics.median(r[name]["cpu"] for r in rounds) for name in contestants}
                wall = {name: statistics.median(r[name]["wall"] for r in rounds) for name in contestants}
                cells = [f"{cpu[name]:.3g} / {wall[name]:.3g}" for name in contestants]
                ours = wall["Quanta int8"]
                lines.append(f"| {net} | {batch} | {threads} | " + " | ".join(cells) +
                             f" | {wall['LibTorch float'] / ours:.2f} | {wall['ONNX Runtime int8'] / ours:.2f} |")
                print(lines[-1], flush=True)

table = "\n".join(lines)
readme = (here / "README.md").read_text()
begin, end = "<!-- table -->\n", "<!-- end of table -->"
head, rest = readme.split(begin)
(here / "README.md").write_text(head + begin + table + "\n" + end + rest.split(end)[1])
