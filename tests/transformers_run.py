"""Tiny random language models of Hugging Face's transformers: transformers_run.py make|load FOLDER

make: writes a checkpoint FOLDER/NAME for every case, and FOLDER/NAME.safetensors with token ids, the logits that
transformers computes for them in float32, and the ids that greedy generation appends to the first row's first eight.
load: reads FOLDER/NAME.ours, which another program wrote, and writes its logits to FOLDER/NAME.ours.safetensors.
"""
import os
import pathlib
import sys

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

torch.set_num_threads(1)
VOCABULARY, LENGTH = 97, 40

LLAMA = dict(vocab_size=VOCABULARY, hidden_size=48, intermediate_size=80, num_hidden_layers=2, num_attention_heads=4,
             max_position_embeddings=64, initializer_range=0.2)
GPT2 = dict(vocab_size=VOCABULARY, n_embd=48, n_layer=2, n_head=4, n_positions=64, initializer_range=0.2,
            bos_token_id=1, eos_token_id=2)
OPT = dict(vocab_size=VOCABULARY, hidden_size=48, ffn_dim=80, num_hidden_layers=2, num_attention_heads=4,
           max_position_embeddings=64, word_embed_proj_dim=48, init_std=0.2)


def rope(rope_type, **more):
    return dict(rope_parameters=dict(rope_type=rope_type, rope_theta=10000.0, **more))


# name -> (class stem, configuration, how it is saved)
CASES = {
    "llama_mha": ("Llama", {}, {}),
    "llama_gqa": ("Llama", dict(num_key_value_heads=2, num_hidden_layers=3), {}),
    "llama_mqa": ("Llama", dict(num_key_value_heads=1), {}),
    "llama_head_dim": ("Llama", dict(num_key_value_heads=2, head_dim=20), {}),
    "llama_tied": ("Llama", dict(tie_word_embeddings=True), {}),
    "llama_biases": ("Llama", dict(attention_bias=True, mlp_bias=True, rms_norm_eps=1e-3), {}),
    "llama_theta": ("Llama", dict(rope_parameters=dict(rope_type="default", rope_theta=500000.0)), {}),
    "llama_bf16": ("Llama", dict(num_key_value_heads=2), dict(dtype=torch.bfloat16)),
    "llama_bf16_sharded": ("Llama", dict(num_key_value_heads=2), dict(dtype=torch.bfloat16, shard="20KB")),
    "llama_f16_sharded": ("Llama", dict(tie_word_embeddings=True), dict(dtype=torch.float16, shard="20KB")),
    "llama_f64": ("Llama", {}, dict(dtype=torch.float64)),
    "llama_linear": ("Llama", rope("linear", factor=4.0), {}),
    "llama_dynamic_short": ("Llama", rope("dynamic", factor=2.0), {}),
    "llama_dynamic_long": ("Llama", dict(max_position_embeddings=24, **rope("dynamic", factor=2.0)), {}),
    "llama_llama3": ("Llama", rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                   original_max_position_embeddings=32), {}),
    "llama_yarn": ("Llama", rope("yarn", factor=4.0, original_max_position_embeddings=16), {}),
    "llama_yarn_options": ("Llama", rope("yarn", factor=4.0, original_max_position_embeddings=16, beta_fast=16.0,
                                         beta_slow=2.0, attention_factor=1.3, truncate=False), {}),
    "llama_yarn_mscale": ("Llama", rope("yarn", factor=4.0, original_max_position_embeddings=16, mscale=0.7,
                                        mscale_all_dim=1.2), {}),
    "mistral": ("Mistral", dict(num_key_value_heads=2, sliding_window=None), {}),
    "mistral_window": ("Mistral", dict(num_key_value_heads=2, sliding_window=40, head_dim=16), {}),
    "qwen2": ("Qwen2", dict(num_key_value_heads=2), {}),
    "qwen2_tied": ("Qwen2", dict(num_key_value_heads=1, tie_word_embeddings=True), {}),
    "gpt2": ("GPT2", {}, {}),
    "gpt2_untied": ("GPT2", dict(tie_word_embeddings=False, n_inner=56, activation_function="gelu"), {}),
    "gpt2_f16_sharded": ("GPT2", {}, dict(dtype=torch.float16, shard="20KB")),
    "gpt2_without_prefix": ("GPT2", {}, dict(bare=True)),
    "opt": ("OPT", {}, {}),
    "opt_gelu": ("OPT", dict(activation_function="gelu", num_attention_heads=6), {}),
    "opt_untied": ("OPT", dict(tie_word_embeddings=False), dict(dtype=torch.bfloat16)),
    "opt_without_biases": ("OPT", dict(enable_bias=False), {}),
}


def make(folder, seed, name, stem, config, save):
    torch.manual_seed(seed)
    base = {"GPT2": GPT2, "OPT": OPT}.get(stem, LLAMA)
    kind = getattr(transformers, stem + ("LMHeadModel" if stem == "GPT2" else "ForCausalLM"))
    model = kind(getattr(transformers, stem + "Config")(**{**base, **config}))
    with torch.no_grad():  # norms and biases that matter
        for p in model.parameters():
            if p.dim() == 1:
                p.add_(0.3 * torch.randn_like(p))
    model = model.to(save.get("dtype", torch.float32))
    path = str(folder / name)
    if save.get("bare"):
        model.transformer.save_pretrained(path)
        model.config.architectures = ["GPT2LMHeadModel"]
        model.config.save_pretrained(path)  # the architecture with the head, as the published GPT-2 has it
    else:
        model.save_pretrained(path, max_shard_size=save.get("shard", "5GB"))
    model = model.to(torch.float32).eval()
    ids = torch.randint(0, VOCABULARY, (2, LENGTH))
    greedy = model.generate(ids[:1, :8], attention_mask=torch.ones(1, 8, dtype=torch.long), do_sample=False,
                            max_new_tokens=12, eos_token_id=None, pad_token_id=0, repetition_penalty=1.3)
    # A fresh model: generation leaves a trace in dynamically stretched positions.
    logits = kind.from_pretrained(path, dtype=torch.float32).eval()(ids).logits if not save.get("bare") else model(ids).logits
    save_file({"ids": ids, "logits": logits.contiguous(), "greedy": greedy[0, 8:].contiguous()},
              folder / f"{name}.safetensors")


def main():
    task, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    for seed, (name, (stem, config, save)) in enumerate(CASES.items()):
        with torch.no_grad():
            if task == "make":
                make(folder, seed, name, stem, config, save)
                continue
            model, report = AutoModelForCausalLM.from_pretrained(folder / f"{name}.ours", dtype=torch.float32,
                                                                 output_loading_info=True)
            # A tied head is absent on purpose.
            missing = [key for key in report["missing_keys"] if key != "lm_head.weight"]
            assert not missing and not report["unexpected_keys"] and not report["mismatched_keys"], (name, report)
            ids = load_file(folder / f"{name}.safetensors")["ids"]
            save_file({"logits": model.eval()(ids).logits.contiguous()}, folder / f"{name}.ours.safetensors")
        print(name)


main()
