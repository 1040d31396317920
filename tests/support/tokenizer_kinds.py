"""Tokenizers of the kinds that real models have, trained on a small text."""

from __future__ import annotations

from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from trl_gift.playground import model_path

# Whole files: a tokenizer that is trained on single lines joins nothing across line ends.
TEXT = [path.read_text("utf-8") for path in sorted((Path(__file__).parents[2] / "trl_gift" / "prompts").glob("*.py"))]
CORPUS = [
    'def solve(xs):\n    """Sum of the squares of xs."""\n    return sum(x * x for x in xs)\n',
    "### Code\ndef solve(xs):\n    total = 0\n    for x in xs:\n        total += x\n    return total\n### Description\nAdd all.",
    "Drop the negative numbers, double the rest and count how many are left over in the list of numbers.",
    "if while import from class lambda None True False == != <= >= [0] {1: 2} (3, 4) 'text' \"text\" # comment",
]
MARKS = ["<|endoftext|>", "<s>", "<|im_start|>", "<|im_end|>"]
_ASCII = [chr(code) for code in range(33, 127)]
_LETTERS = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_SINGLE_DIGITS = _LETTERS.replace("{1,3}", "")


def _bytes(*steps, vocabulary=900, use_regex=False):
    """Byte-level BPE after some splits."""
    tokenizer = Tokenizer(models.BPE())
    steps = [*steps, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        TEXT, trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=MARKS, initial_alphabet=alphabet)
    )
    return tokenizer


def _pieces(scheme, vocabulary=700, unigram=False, split=True):
    """SentencePiece: spaces become part of pieces, and what is not in the vocabulary falls back to bytes."""
    fallback = [f"<0x{byte:02X}>" for byte in range(256)]
    if unigram:
        tokenizer = Tokenizer(models.Unigram())
        trainer = trainers.UnigramTrainer(
            vocab_size=vocabulary, special_tokens=["<unk>", *MARKS], unk_token="<unk>", initial_alphabet=_ASCII
        )
    else:
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
        trainer = trainers.BpeTrainer(
            vocab_size=vocabulary, special_tokens=["<unk>", *MARKS, *fallback], initial_alphabet=_ASCII
        )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=split)
    steps = [decoders.ByteFallback(), decoders.Fuse()]
    if scheme != "never":
        steps.append(decoders.Strip(" ", 1, 0))
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), *steps])
    tokenizer.train_from_iterator(TEXT, trainer)
    return tokenizer


def _gemma():
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\n+|[^\n]+"), "isolated")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    fallback = [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer.train_from_iterator(
        TEXT, trainers.BpeTrainer(vocab_size=900, special_tokens=["<unk>", *MARKS, *fallback], initial_alphabet=_ASCII)
    )
    return tokenizer


KINDS = {
    "gpt2": lambda: _bytes(use_regex=True),
    "gpt2-large": lambda: _bytes(use_regex=True, vocabulary=3000),
    "starcoder": lambda: _bytes(pre_tokenizers.Digits(individual_digits=True), use_regex=True),
    "llama3": lambda: _bytes(pre_tokenizers.Split(Regex(_LETTERS), "isolated")),
    "qwen": lambda: _bytes(pre_tokenizers.Split(Regex(_SINGLE_DIGITS), "isolated"), vocabulary=2000),
    "deepseek-coder": lambda: _bytes(
        pre_tokenizers.Split(Regex(r"[\r\n]"), "isolated"), pre_tokenizers.Split(Regex(r"\s?\p{L}+"), "isolated")
    ),
    "bytes-unsplit": lambda: _bytes(vocabulary=600),
    "llama2": lambda: _pieces("first"),
    "llama2-legacy": lambda: _pieces("always"),
    "mistral": lambda: _pieces("never"),
    "pieces-unsplit": lambda: _pieces("never", split=False),
    "unigram": lambda: _pieces("always", vocabulary=400, unigram=True),
    "gemma": _gemma,
}


def tokenizer_of(kind):
    """One of `KINDS`, or `"embedded"`."""
    if kind == "embedded":
        return PreTrainedTokenizerFast.from_pretrained(model_path())
    backend = KINDS[kind]()
    backend.add_special_tokens([AddedToken(mark, special=True) for mark in MARKS])
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>", bos_token="<s>")


def small_tokenizer():
    """A byte-level BPE tokenizer of about 300 tokens with an end and a padding token."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>", "<|pad|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(CORPUS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|endoftext|>", pad_token="<|pad|>")
