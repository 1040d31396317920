"""Pretraining of the playground's model: its tokenizer, its weights, its measured quality and its card.

    python -m tools.playground.pretrain --output-dir out [--minutes 40] [--device auto]

One small Llama learns both directions of the world, `description → code` and `code → description`, in exactly the
prompt format that the chain uses. The budget is a number of training tokens, so two runs see the same examples; the
learning rate follows that budget. `--minutes` only caps the time: if it strikes first, the rest of the schedule is
compressed, and the run differs between machines.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tools.playground.card import model_card
from tools.playground.practice import Pair, practice_pairs, tokenizer_texts
from tools.playground.quality import measure

END, PAD = "<|endoftext|>", "<|pad|>"
VOCABULARY = 1024
# Digits and quoted letters stay whole, so that copying a constant is copying one token; a line's start stays with its
# newline; clauses end at commas and semicolons; a prompt's last line ends its piece, so that prompt and completion give
# the same tokens together and apart. Within these bounds merges may cross words, which keeps texts short.
PIECES = r"'[a-z]'|\d|\n?###[^\n]*\n?|\"+\n?|\n[^\d\n',;\"]*|[,;](?: after)?|[^\d\n',;\"]+|[^\d\n]"

SEED = 20250216
EXAMPLES = 240_000
BATCH = 96
POOL = 64  # batches sorted by length together, so that padding is rare and order stays random
LEARNING_RATE = 3e-3
WARMUP = 200


def train_tokenizer(num_texts: int = 40_000) -> PreTrainedTokenizerFast:
    """A byte-level BPE tuned to the texts of the world; any text at all can be encoded."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    texts = islice(tokenizer_texts(SEED), num_texts)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_max_length=512,
    )


def build_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """The untrained model: a standard Llama small enough for a wheel and for two cores."""
    torch.manual_seed(SEED)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        attention_dropout=0.0,
    )
    return LlamaForCausalLM(config)


def batches(tokenizer: PreTrainedTokenizerFast, pairs: Iterator[Pair]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of token ids and labels; prompt and completion are tokenised apart, as the chain does, and only the
    completion and its end token are learned.
    """
    generator = torch.Generator().manual_seed(SEED)
    backend = tokenizer.backend_tokenizer
    end, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    while True:
        pool = list(islice(pairs, BATCH * POOL))
        prompts = backend.encode_batch([pair.prompt for pair in pool])
        completions = backend.encode_batch([pair.completion for pair in pool])
        rows = sorted(
            ((p.ids, [*c.ids, end]) for p, c in zip(prompts, completions, strict=True)),
            key=lambda row: len(row[0]) + len(row[1]),
        )
        for index in torch.randperm(POOL, generator=generator).tolist():
            chunk = rows[index * BATCH : (index + 1) * BATCH]
            width = max(len(prompt) + len(completion) for prompt, completion in chunk)
            ids = torch.full((BATCH, width), pad)
            labels = torch.full((BATCH, width), -100)
            for row, (prompt, completion) in enumerate(chunk):
                length = len(prompt) + len(completion)
                ids[row, :length] = torch.tensor(prompt + completion)
                labels[row, len(prompt) : length] = torch.tensor(completion)
            yield ids, labels


def learning_rate(progress: float, step: int) -> float:
    """Linear warm-up, then a cosine to a hundredth of the peak."""
    warm = min(1.0, (step + 1) / WARMUP)
    return LEARNING_RATE * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


def train(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, *, examples: int, minutes: float, device: str
) -> dict[str, Any]:
    """Train in place; returns what was seen and how long it took."""
    model.to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.05)
    stream = batches(tokenizer, practice_pairs(SEED))
    steps = examples // BATCH
    started, tokens, step, progress, average = time.perf_counter(), 0, 0, 0.0, None
    while progress < 1.0:
        ids, labels = next(stream)
        elapsed = (time.perf_counter() - started) / 60
        progress = (step + 1) / steps
        if minutes and elapsed / minutes > progress:
            progress = elapsed / minutes
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(progress, step)
        ids, labels = ids.to(device), labels.to(device)
        hidden = model.model(input_ids=ids).last_hidden_state
        # Only the learned positions need logits, which is most of the work for a model this narrow.
        learned = labels[:, 1:] != -100
        logits = model.lm_head(hidden[:, :-1][learned])
        loss = torch.nn.functional.cross_entropy(logits.float(), labels[:, 1:][learned])
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        tokens += int((ids != tokenizer.pad_token_id).sum())
        average = loss.item() if average is None else 0.99 * average + 0.01 * loss.item()
        step += 1
        if step % 200 == 0:
            seconds = time.perf_counter() - started
            print(
                f"step {step}  loss {average:.4f}  {tokens / seconds:,.0f} tokens/s  {seconds / 60:.1f} min",
                flush=True,
            )
    seconds = time.perf_counter() - started
    model.eval()
    return {"steps": step, "examples": step * BATCH, "tokens": tokens, "seconds": round(seconds, 1), "loss": average}


def main(argv: list[str] | None = None) -> None:
    """Train, save, measure, and write down what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--examples", type=int, default=EXAMPLES, help="training examples (the budget)")
    parser.add_argument("--minutes", type=float, default=0.0, help="cap on the training time; 0 means none")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 leaves PyTorch's choice")
    parser.add_argument("--measure-only", action="store_true", help="measure the model in --output-dir once more")
    args = parser.parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    device = args.device if args.device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
    record = args.output_dir / "pretraining.json"
    if args.measure_only:
        training = json.loads(record.read_text())["training"]
    else:
        tokenizer = train_tokenizer()
        model = build_model(tokenizer)
        training = train(model, tokenizer, examples=args.examples, minutes=args.minutes, device=device)
        training |= {"device": device, "threads": torch.get_num_threads()}
        args.output_dir.mkdir(parents=True, exist_ok=True)
        model.to("cpu").save_pretrained(args.output_dir)
        tokenizer.save_pretrained(args.output_dir)
        record.write_text(json.dumps({"training": training}, indent=2) + "\n")
    # Measured as a user meets it: loaded from the folder.
    tokenizer = AutoTokenizer.from_pretrained(args.output_dir, local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(args.output_dir, local_files_only=True, dtype=torch.float32)
    figures = {"training": training, "quality": measure(model.to(device), tokenizer)}
    figures["parameters"] = model.num_parameters()
    record.write_text(json.dumps(figures, indent=2) + "\n")
    (args.output_dir / "README.md").write_text(model_card(figures))
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
