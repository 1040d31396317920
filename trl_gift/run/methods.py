"""What a sampler makes of a run: the name of the method, and how it samples, in words."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Method:
    """What a sampler makes of a run, in words.

    Attributes:
        name: The method's name.
        sampling: How programs were sampled, as a sentence; empty for a sampler that is not ours.
    """

    name: str
    sampling: str


_METHODS = {
    "gibbs": Method(
        "GiFT (Gibbs Fine-Tuning)",
        "The model sampled programs in a chain: it wrote a program from the task's description, described a passing "
        "program in words, wrote the next program from these words, and so on.",
    ),
    "conditional": Method(
        "rejection sampling fine-tuning",
        "The model wrote all programs from the task's own description (`sampler=\"conditional\"`, without GiFT's chain).",
    ),
    "rewrite": Method(
        "rejection sampling fine-tuning with rewritten descriptions",
        "In each step the model wrote programs from its own paraphrase of the task's description "
        '(`sampler="rewrite"`, without GiFT\'s chain).',
    ),
    "hinted": Method(
        "rejection sampling fine-tuning with hints",
        "The model wrote programs from the task's own description. It tried the tasks that half of the steps left unsolved "
        'again with a hint, which the training prompts do not show (`sampler="hinted"`, without GiFT\'s chain).',
    ),
}


def method_of(sampler: str) -> Method:
    """The method that a sampler makes."""
    return _METHODS.get(sampler, Method(f"self-training with the sampler `{sampler}`", ""))
