"""Tokenizers made by `tokenizers` and `sentencepiece`, and the ids they give: text_run.py OUT CORPUS [FOLDER ...]

Trains small tokenizers of many configurations on the corpus and writes each to OUT/NAME, with expected.jsonl beside it:
{"text", "ids", "special" (ids with what goes around a text), "decoded" (of ids; null where it cannot be said)}.
A FOLDER with a tokenizer.json or a tokenizer.model is compared as it is: its answers go to OUT/NAME too.
"""
import json
import pathlib
import random
import shutil
import sys
import unicodedata

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

out, corpus_path, *folders = sys.argv[1:]
out = pathlib.Path(out)
corpus = pathlib.Path(corpus_path).read_text(encoding="utf-8")
rng = random.Random(1)

HARD = [
    "", " ", "  ", "   a", "a   ", "\t", "\n", "\r\n", "\r\n\r\n x", "a\tb\t\tc", " \n \n  x \n", "\n\n\nword", "x\u00a0y \u3000z",
    "\u2028\u2029a \u0085 b\u200bc \ufeff", "Hello, world!", "hello hello", "I'm he'll we've you're it's I'd can't",
    "I'M HE'LL WE'VE YOU'RE IT'S I'D CAN'T", "'\u017f '\u017fe 'S 'Ll 'lL", "''s '' 'x 'r 're'v'l", "don\u2019t", "1", "12", "123", "1234",
    "12345678901234567890", "3.14159, 2,718 and 1e-10", "\u00bd \u2167 \u0663\u0664\u0665 \uff11\uff12\uff13\uff14 \u2460", "x1y22z333", "\u00e9 e\u0301 \u0301 \u0301a a\u0301\u0327 a\u0327\u0301",
    "na\u00efve caf\u00e9 \u00c5ngstr\u00f6m \u212bngstr\u00f6m \u2126 \u1e9b\u0323", "\ud55c\uad6d\uc5b4 \u1112\u1161\u11ab\u1100\u116e\u11a8", "\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8\u3002\u4e2d\u6587\u5b57\u7b26",
    "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645 \u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd", "\u0939\u093f\u0928\u094d\u0926\u0940 \u0ba4\u0bae\u0bbf\u0bb4\u0bcd \u0e44\u0e17\u0e22", "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466\U0001f3f3\ufe0f\u200d\U0001f308\U0001f1e9\U0001f1ea", "\U0001d54f \U00020000\U0002f800 \U0010fffd",
    "\u2581", "\u2581a \u2581b", " \u2581 ", "a\u2581\u2581b", "<s>", "</s>", "<unk>", "<|endoftext|>", "a<|endoftext|>b", " <|endoftext|> c", "<|endoftext|><|endoftext|>",
    "<|endof", "<0x0A>", "<0x41>", "x <mask> y", "x<mask>y", "  <mask>  ", "word", "sword words word's word", "NORM norm Norm", "e\u0301cole \u00e9cole",
    "fi \ufb01 \uff21\uff22 \u2122 \u00b2", "\x00\x01\x7f", "a\x00b", "a" * 300, "ab" * 500, " " * 100 + "x", "\n" * 50, "=" * 80, "http://x.y/z?a=b&c=d#e", "for (int i=0; i<n; ++i) {\n\t\tx[i] += 1;\n}\n",
    "_under_score__ -- ... !!! ?!?", "\u0300\u0301", "\u00df \u0130 \u01c5", "\u1e9e\u0345", "\ufffd", "a\u0338\u0323\u0307 q\u0307\u0323",
]
ALPHABET = "abcdefghij  \n\t'sSTLlReEDdMmVv0123456789.,!?-\u00e9\u00df\u0301\u0327\u4e2d\u6587\u3042\uac00\u0661\u00bd\u00a0\u3000\u2581\U0001f600\u200d_<>|"


def texts():
    result = list(HARD)
    for _ in range(1500):
        start = rng.randrange(len(corpus))
        result.append(corpus[start : start + rng.randrange(1, 200)])
    for _ in range(1500):
        result.append("".join(rng.choice(ALPHABET) for _ in range(rng.randrange(1, 40))))
    for _ in range(500):
        parts = [rng.choice(HARD), rng.choice(HARD), corpus[(s := rng.randrange(len(corpus))) : s + 20]]
        rng.shuffle(parts)
        result.append("".join(parts))
    # The libraries' tables are of several versions of Unicode: 13, 16 and 17. What 3.2 had is alike in all.
    codes = [c for c in range(0x30000) if unicodedata.ucd_3_2_0.category(chr(c)) not in ("Cn", "Cs")]
    for _ in range(500):
        result.append("".join(chr(rng.choice(codes)) if rng.random() < 0.6 else rng.choice(ALPHABET) for _ in range(20)))
    return result


TEXTS = texts()
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace("{1,3}", "")
ENDOFTEXT = AddedToken("<|endoftext|>", special=True, normalized=False)


def write(name, rows):
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "expected.jsonl", "w") as file:
        for row in rows:
            file.write(json.dumps(row) + "\n")


def answers(tokenizer, texts):
    for text in texts:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        decoded = tokenizer.decode(ids)
        yield {
            "text": text,
            "ids": ids,
            "special": tokenizer.encode(text).ids,
            "decoded": None if "\ufffd" in decoded else decoded,
        }


def save(name, tokenizer):
    (out / name).mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(out / name / "tokenizer.json"))
    write(name, answers(Tokenizer.from_file(str(out / name / "tokenizer.json")), TEXTS))


def byte_level(name, pre_tokenizer, normalizer=None, size=1500, added=(ENDOFTEXT,), post=None, **model):
    tokenizer = Tokenizer(models.BPE(**model))
    tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([corpus[k : k + 2000] for k in range(0, min(len(corpus), 400000), 2000)] + HARD, trainer)
    tokenizer.add_tokens(list(added))
    if post:
        template = processors.TemplateProcessing(single=post[0], special_tokens=[(t, tokenizer.token_to_id(t)) for t in post[1]])
        tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=True), template])
    save(name, tokenizer)
    return tokenizer


def level(**options):
    return pre_tokenizers.ByteLevel(**options)


def split_then_level(regex):
    return pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(regex), "isolated"), level(add_prefix_space=False, use_regex=False)]
    )


SPECIAL = [
    ENDOFTEXT,
    AddedToken("<mask>", special=True, lstrip=True, rstrip=True, normalized=False),
    AddedToken("word", single_word=True, normalized=False),
    AddedToken("norm", normalized=True),
    AddedToken("\u00e9cole", normalized=True),
    AddedToken("<|endof", normalized=False),
    AddedToken("</s>", special=True, normalized=False),
]
gpt2 = byte_level("gpt2", level(add_prefix_space=False))
old = out / "gpt2_files"
old.mkdir(parents=True, exist_ok=True)
gpt2.model.save(str(old))
vocab = json.loads((old / "vocab.json").read_text())
vocab["<|endoftext|>"] = gpt2.token_to_id("<|endoftext|>")
(old / "vocab.json").write_text(json.dumps(vocab))
shutil.copy(out / "gpt2" / "expected.jsonl", old)
byte_level("opt", level(add_prefix_space=True), added=SPECIAL, post=("</s> $A", ["</s>"]))
byte_level("llama3", split_then_level(LLAMA3), ignore_merges=True, post=("<|endoftext|> $A", ["<|endoftext|>"]))
byte_level("qwen2", split_then_level(QWEN2), normalizers.NFC(), added=SPECIAL)
byte_level("nfd", split_then_level(GPT2), normalizers.NFD(), added=SPECIAL)
byte_level("whole", level(add_prefix_space=False, use_regex=False), size=600)
byte_level("digits", pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), level(add_prefix_space=False)]))
byte_level("numbers", pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=False), level(add_prefix_space=True)]))
byte_level("no_bytes", level(add_prefix_space=False), unk_token=None)


def characters(name, normalizer, pre_tokenizer, decoder, bytes_too, pairs=False, added=(), **model):
    """Llama 2's kind: characters, with <0xNN> for what is not known."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    trainer = trainers.BpeTrainer(vocab_size=1500, show_progress=False, limit_alphabet=90)
    trained.train_from_iterator([corpus[k : k + 2000] for k in range(0, min(len(corpus), 400000), 2000)], trainer)
    learned = json.loads(trained.to_str())["model"]
    names = ["<unk>", "<s>", "</s>"] + ([f"<0x{b:02X}>" for b in range(256)] if bytes_too else [])
    names += [t for t, _ in sorted(learned["vocab"].items(), key=lambda item: item[1])]
    merges = [tuple(m) for m in learned["merges"]]
    vocab = {t: i for i, t in enumerate(names)}
    tokenizer = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", byte_fallback=bytes_too, **model))
    if normalizer:
        tokenizer.normalizer = normalizer
    if pre_tokenizer:
        tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoder
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in ("<unk>", "<s>", "</s>")])
    tokenizer.add_tokens(list(added))
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    save(name, tokenizer)


LLAMA2_DECODER = decoders.Sequence(
    [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
)
LLAMA2_NORMALIZER = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
GEMMA_DECODER = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
first = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
always = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
never = pre_tokenizers.Metaspace(prepend_scheme="never", split=True)
characters("llama2", LLAMA2_NORMALIZER, None, LLAMA2_DECODER, True, fuse_unk=True)
characters("llama2_added", LLAMA2_NORMALIZER, None, LLAMA2_DECODER, True, added=SPECIAL, fuse_unk=True)
characters("llama2_first", None, first, LLAMA2_DECODER, True, fuse_unk=True, added=SPECIAL[1:3])
characters("metaspace", None, always, decoders.Metaspace(prepend_scheme="always"), False, fuse_unk=True)
characters("metaspace_apart", None, never, decoders.Metaspace(prepend_scheme="never"), False, fuse_unk=False)
for behavior in ("isolated", "removed", "merged_with_previous", "merged_with_next"):
    cut = pre_tokenizers.Split("\u2581", behavior)
    characters("split_" + behavior, normalizers.Replace(" ", "\u2581"), cut, GEMMA_DECODER, True)


def sentence_answers(processor):
    names = [processor.id_to_piece(i) for i in range(processor.get_piece_size()) if processor.is_control(i) or processor.is_unknown(i)]
    for text in TEXTS:
        if any(name in text for name in names):  # these are recognized where SentencePiece reads them as text
            continue
        ids = processor.encode(text)
        decoded = processor.decode(ids)
        yield {"text": text, "ids": ids, "special": [processor.bos_id(), *ids], "decoded": None if "\ufffd" in decoded else decoded}


def mark_unused(model):
    """The model with each third piece of several characters unused: its message ends with the type 5."""
    result, at, index = b"", 0, 0
    while model[at] == 0x0A and model[at + 1] < 126:  # the pieces come first
        piece = model[at + 2 : (end := at + 2 + model[at + 1])]
        text = piece[2 : 2 + piece[1]].decode()
        if index % 3 == 0 and len(text) > 1 and len(piece) == 7 + piece[1]:  # a text and a score: a normal piece
            piece += b"\x18\x05"
        result += bytes([0x0A, len(piece)]) + piece
        at, index = end, index + 1
    return result + model[at:]


def sentencepiece_model(name, unused=False, **options):
    folder = out / ("sp_" + name)
    folder.mkdir(parents=True, exist_ok=True)
    lines = [line for line in corpus[:400000].splitlines() if line] + [t for t in HARD if t.strip() and "\0" not in t]
    settings = dict(vocab_size=1200, minloglevel=2, num_threads=1, character_coverage=0.9995, hard_vocab_limit=False) | options
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_prefix=str(folder / "tokenizer"), **settings)
    (folder / "tokenizer.vocab").unlink()
    processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    if unused:
        (folder / "tokenizer.model").write_bytes(mark_unused(processor.serialized_model_proto()))
        processor.load(str(folder / "tokenizer.model"))
        assert any(map(processor.is_unused, range(processor.get_piece_size())))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer"}')
    write("sp_" + name, sentence_answers(processor))


plain = dict(normalization_rule_name="identity", remove_extra_whitespaces=False)
symbols = ["<mask>", "word", "http://", "norm", "\u65e5\u672c"]
sentencepiece_model("llama", model_type="bpe", byte_fallback=True, split_digits=True, **plain)
sentencepiece_model("llama_spaces", model_type="bpe", byte_fallback=True, allow_whitespace_only_pieces=True, **plain)
sentencepiece_model("bpe", model_type="bpe")
sentencepiece_model("bpe_phrases", model_type="bpe", split_by_whitespace=False)
sentencepiece_model("bpe_symbols", model_type="bpe", user_defined_symbols=symbols, byte_fallback=True)
sentencepiece_model("bpe_suffix", model_type="bpe", treat_whitespace_as_suffix=True)
sentencepiece_model("bpe_no_prefix", model_type="bpe", add_dummy_prefix=False, **plain)
sentencepiece_model("unigram", model_type="unigram")
sentencepiece_model("unigram_bytes", model_type="unigram", byte_fallback=True, **plain)
sentencepiece_model("unigram_symbols", model_type="unigram", user_defined_symbols=symbols, normalization_rule_name="nfkc_cf")
sentencepiece_model("unigram_nfkc", model_type="unigram", normalization_rule_name="nfkc", remove_extra_whitespaces=False)
sentencepiece_model("bpe_unused", unused=True, model_type="bpe", byte_fallback=True, **plain)
sentencepiece_model("unigram_unused", unused=True, model_type="unigram")

for folder in map(pathlib.Path, folders):
    name = "given_" + folder.name
    (out / name).mkdir(parents=True, exist_ok=True)
    for file in folder.glob("*token*"):
        shutil.copy(file, out / name)
    if (folder / "tokenizer.json").exists():
        write(name, answers(Tokenizer.from_file(str(folder / "tokenizer.json")), TEXTS))
    else:
        write(name, sentence_answers(sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))))
print(len(TEXTS), "texts")
