"""Runs ONNX models in ONNX Runtime: onnx_run.py FOLDER

For every NAME.onnx in the folder: checks the model, runs it on NAME.input (float32, the model's input shape with any
batch), and writes the output to NAME.output (float32). NAME.plain holds the output without graph optimizations.
"""
import pathlib
import sys

import numpy as np
import onnx
import onnxruntime as ort

for path in sorted(pathlib.Path(sys.argv[1]).glob("*.onnx")):
    onnx.checker.check_model(str(path), full_check=True)
    outputs = {}
    for suffix, level in (
        (".output", ort.GraphOptimizationLevel.ORT_ENABLE_ALL),
        (".plain", ort.GraphOptimizationLevel.ORT_DISABLE_ALL),
    ):
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.graph_optimization_level = level
        options.optimized_model_filepath = str(path) + suffix
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        (input,) = session.get_inputs()
        assert input.name == "input" and session.get_outputs()[0].name == "logits"
        x = np.fromfile(path.with_suffix(".input"), np.float32).reshape([-1, *input.shape[1:]])
        parts = [session.run(["logits"], {"input": x[i : i + 500]})[0] for i in range(0, len(x), 500)]
        np.concatenate(parts).tofile(path.with_suffix(suffix))
    kinds = [node.op_type for node in onnx.load(str(path) + ".output").graph.node]
    print(path.stem, *sorted(set(kinds)))
