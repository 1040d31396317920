"""The model card of the playground's model, written from what was measured and from nothing else."""

from __future__ import annotations

from typing import Any

_CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
tags: [code, self-training, trl-gift, synthetic]
---

# The playground's model

A Llama of {parameters:,} parameters with a byte-level BPE of its own. It writes and reads the small Python functions of
one synthetic world, the playground of `trl_gift`, and exists so that self-training can be watched, offline, on a laptop.
It knows nothing else: no natural language, no other Python. Do not use it for anything but demonstrations and tests.

It was trained from scratch by `python -m tools.playground.pretrain` on pairs that the world draws, description → code
and code → description, and on no text from anywhere else. It was *not* shown the intentions of the training,
validation and test tasks, nor any program that behaves like one of them; and it practised long
descriptions in three of the four wordings in reading only, so it writes badly from them. `docs/playground.md` describes
the world.

## Prompts

    def solve(xs):
        \"\"\"keep the even numbers, add 3, return the sum\"\"\"

is continued by the body and `<|endoftext|>`, and

    ### Code
    def solve(xs):
        return sum([x + 3 for x in [x for x in xs if x % 2 == 0]])
    ### Description

by the description and `<|endoftext|>`. Prompt and completion are tokenised apart; there is no token at the start.

## Measured

Training: {examples:,} examples, {tokens:,} tokens, {minutes:.0f} minutes on {device} with {threads} thread(s).
Every figure is over {tasks} tasks and decided by execution in the sandbox. {samples} samples a task where sampled, at
temperature 1 without truncation.

| | test | train |
| --- | --- | --- |
| greedy pass@1 | {heldout_greedy:.1%} (95 % interval {heldout_low:.1%} to {heldout_high:.1%}) | {seeds_greedy:.1%} |
| sampled pass rate | {heldout_sampled:.1%} | {seeds_sampled:.1%} |
| solved by at least one of {samples} samples | {heldout_solved:.1%} | {seeds_solved:.1%} |

The training tasks described in the majority wording: {plain:.1%} greedy.

Round trip, code → description → code, both greedy, of known-correct programs of the training tasks, by idiom:
{round_trip}.
"""


def model_card(figures: dict[str, Any]) -> str:
    """The card for the figures of `pretraining.json`."""
    training, quality = figures["training"], figures["quality"]
    samples = quality["samples"]
    low, high = quality["heldout_greedy_pass@1_ci"]
    return _CARD.format(
        parameters=figures["parameters"],
        examples=training["examples"],
        tokens=training["tokens"],
        minutes=training["seconds"] / 60,
        device=training["device"],
        threads=training["threads"],
        tasks=quality["tasks"],
        samples=samples,
        heldout_greedy=quality["heldout_greedy_pass@1"],
        heldout_low=low,
        heldout_high=high,
        seeds_greedy=quality["seeds_greedy_pass@1"],
        heldout_sampled=quality["heldout_sampled_pass_rate"],
        seeds_sampled=quality["seeds_sampled_pass_rate"],
        heldout_solved=quality["heldout_solved"],
        seeds_solved=quality["seeds_solved"],
        plain=quality["seeds_plain_wording_greedy"],
        round_trip=", ".join(f"{name} {rate:.1%}" for name, rate in quality["round_trip"].items()),
    )
