"""What a run is, in words: the name of its method, how it samples, and what its model has learned from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Method:
    """What a sampler makes of a run, in words.

    Attributes:
        name: The method's name.
        sampling: How programs were sampled, as sentences with `{model}` for who did it; empty for a sampler that is not ours.
    """

    name: str
    sampling: str


_METHODS = {
    "gibbs": Method(
        "GiFT (Gibbs Fine-Tuning)",
        "{model} sampled programs in a chain: it wrote a program from the task's description, described a passing "
        "program in words, wrote the next program from these words, and so on.",
    ),
    "conditional": Method(
        "rejection sampling fine-tuning",
        "{model} wrote all programs from the task's own description (`sampler=\"conditional\"`, without GiFT's chain).",
    ),
    "rewrite": Method(
        "rejection sampling fine-tuning with rewritten descriptions",
        "{model} wrote the programs of each step from its own paraphrase of the task's description "
        '(`sampler="rewrite"`, without GiFT\'s chain).',
    ),
    "hinted": Method(
        "rejection sampling fine-tuning with hints",
        "{model} wrote programs from the task's own description. It tried the tasks that half of the steps left unsolved "
        'again with a hint, which the training prompts do not show (`sampler="hinted"`, without GiFT\'s chain).',
    ),
}


def method_of(sampler: str, drawn_by: str | None = None) -> Method:
    """The method that a sampler makes.

    Args:
        sampler: The sampler.
        drawn_by: Another model that sampled; None if the model in training did.
    """
    found = _METHODS.get(sampler, Method(f"self-training with the sampler `{sampler}`", ""))
    return replace(found, sampling=found.sampling.format(model="Another model" if drawn_by else "The model"))


def has_teacher(options: Mapping[str, Any]) -> bool:
    """Whether a run, by its recorded options, learns from what another model writes besides the one that samples."""
    return bool(options.get("teacher", "self") != "self")


def whose_programs(options: Mapping[str, Any], drawn_by: str | None) -> str:
    """Who wrote the programs of a run and what for, as a clause after "programs that".

    Args:
        options: Its recorded options.
        drawn_by: Another model that sampled; None if the model in training did.
    """
    if has_teacher(options):
        return "several code models wrote for one model to learn from"
    return (
        "a code model wrote for another one to learn from"
        if drawn_by
        else "a code model wrote while it trained itself"
    )


@dataclass(frozen=True, slots=True)
class Learned:
    """What the weights of a run were trained on.

    Attributes:
        own: Number of training pairs with a sampled program.
        references: Number of training pairs with a reference solution.
    """

    own: int
    references: int

    @classmethod
    def of(cls, rounds: Sequence[tuple[int, int]], restarts: bool) -> Learned:
        """What a model has learned from.

        Args:
            rounds: The number of training pairs and that of references among them, for each round up to that of the weights.
            restarts: Whether each round was trained from the base weights; then only the last one that had pairs counts.
        """
        trained = [counts for counts in rounds if counts[0]]
        counted = trained[-1:] if restarts else trained
        references = sum(count for _, count in counted)
        return cls(sum(pairs for pairs, _ in counted) - references, references)

    def line(self, verified: bool, drawn_by: str | None = None, has_teacher: bool = False) -> str:
        """The same in words, such as "trained on programs that it wrote itself and that passed tests".

        Args:
            verified: Whether the run executed its samples.
            drawn_by: Another model that sampled them.
            has_teacher: Whether another model than these two wrote some of them.
        """
        writer = f"another model ({drawn_by})" if drawn_by else "it"
        writer += " or a teacher wrote" if has_teacher else " wrote" if drawn_by else " wrote itself"
        if self.own:
            checked = "passed tests" if verified else "nothing has checked"
            return f"trained on programs that {writer} and that {checked}"
        if self.references:
            return f"trained on reference solutions alone and on no program that {writer}"
        return "left untrained because there was nothing to train on"
