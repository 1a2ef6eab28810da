"""What the other GGUF programs make of the files in a folder: gguf (Python) and, where llama_cpp is installed, llama.cpp.

gguf_run.py blocks FOLDER      blocks.gguf holds a tensor "w" and the same encoded in tensors named as their types.
                               Writes TYPE.values (their decoding of ours), TYPE.blocks (their encoding of w, with
                               TYPE.weighted by the importance in importance.f32), peer.gguf (their blocks as a file).
gguf_run.py models FOLDER      Every NAME.gguf is evaluated on ids.i32 [windows, length], text.txt is tokenized. Prints
                               "NAME mean-negative-log-likelihood ids-of-the-text...". float.gguf is quantized by
                               llama.cpp to peer_TYPE.gguf, which is evaluated too.
"""

import ctypes
import pathlib
import sys

import gguf
import numpy as np

try:
    import llama_cpp
except ImportError:
    llama_cpp = None


def ggml_blocks(kind, weights, importance):
    library = ctypes.CDLL(str(pathlib.Path(llama_cpp.__file__).parent / "lib" / "libggml-base.so"))
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    library.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64,
                                            ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p]
    rows, columns = weights.shape
    block, size = gguf.GGML_QUANT_SIZES[kind]
    out = np.zeros((rows, columns // block * size), np.uint8)
    library.ggml_quantize_chunk(int(kind), weights.ctypes.data, out.ctypes.data, 0, rows, columns,
                                None if importance is None else importance.ctypes.data)
    return out


def blocks(folder):
    tensors = {t.name: t for t in gguf.GGUFReader(folder / "blocks.gguf").tensors}
    weights = np.ascontiguousarray(tensors.pop("w").data)
    importance = np.fromfile(folder / "importance.f32", np.float32)
    writer = gguf.GGUFWriter(folder / "peer.gguf", "test")
    writer.add_uint8("u8", 200)
    writer.add_int64("i64", -(1 << 40))
    writer.add_float64("f64", 0.1)
    writer.add_bool("yes", True)
    writer.add_array("words", ["a", "", "\u00e9"])
    writer.add_array("numbers", [1, -2, 3])
    for name, tensor in tensors.items():
        kind = tensor.tensor_type
        gguf.quants.dequantize(tensor.data, kind).astype(np.float32).tofile(folder / f"{name}.values")
        try:
            made = gguf.quants.quantize(weights, kind)
        except NotImplementedError:
            made = ggml_blocks(kind, weights, None) if llama_cpp else None
        if made is None:
            continue
        made.tofile(folder / f"{name}.blocks")
        writer.add_tensor(name, made, raw_dtype=kind)
        if llama_cpp and made.dtype == np.uint8:
            ggml_blocks(kind, weights, importance).tofile(folder / f"{name}.weighted")
            ggml_blocks(kind, weights, None).tofile(folder / f"{name}.ggml")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def evaluate(path, ids):
    model = llama_cpp.Llama(str(path), n_ctx=ids.shape[1], n_batch=ids.shape[1], n_ubatch=ids.shape[1], n_threads=1,
                            n_threads_batch=1, logits_all=True, type_k=0, type_v=0, verbose=False)
    total = 0.0
    for window in ids:
        model.reset()
        model.eval(window.tolist())
        logits = np.array(model.scores[: len(window) - 1], np.float64)
        logits -= logits.max(1, keepdims=True)
        logp = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        total -= logp[np.arange(len(window) - 1), window[1:]].sum()
    text = (path.parent / "text.txt").read_bytes()
    tokens = model.tokenize(text, add_bos=True, special=False)
    print(path.stem, total / (ids.shape[0] * (ids.shape[1] - 1)), *tokens, flush=True)


def models(folder):
    if not llama_cpp:
        return
    if (folder / "float.gguf").exists():
        for name, number in {"F16": 1, "Q4_0": 2, "Q8_0": 7, "Q4_K": 14, "Q6_K": 18}.items():
            params = llama_cpp.llama_model_quantize_default_params()
            params.ftype = number
            params.nthread = 1
            params.pure = True
            out = folder / f"peer_{name}.gguf"
            assert llama_cpp.llama_model_quantize(str(folder / "float.gguf").encode(), str(out).encode(),
                                                  ctypes.byref(params)) == 0
    shape = np.fromfile(folder / "shape.i32", np.int32)
    ids = np.fromfile(folder / "ids.i32", np.int32).reshape(shape)
    for path in sorted(folder.glob("*.gguf")):
        evaluate(path, ids)


{"blocks": blocks, "models": models}[sys.argv[1]](pathlib.Path(sys.argv[2]))
