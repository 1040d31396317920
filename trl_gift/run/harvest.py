"""What the rounds' sampling gave: the eligible codes by task, and the figures of the latest round.

Streams over the records, so only eligible codes are held, without the token ids and outcomes that nobody asks for later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from trl_gift.sampling.records import UNVERIFIED, CodeSample
from trl_gift.sampling.store import read_samples
from trl_gift.tasks import codetext


@dataclass(slots=True)
class Verdicts:
    """How far the executions of a round can be trusted.

    Attributes:
        isolation: Number of executed programs by the isolation that was in force.
        trusted: Number of verdicts that no program could have forged.
    """

    isolation: dict[str, int] = field(default_factory=dict)
    trusted: int = 0

    def add(self, outcome: Mapping[str, Any]) -> None:
        """Counts one execution."""
        isolation = outcome["isolation"]
        self.isolation[isolation] = self.isolation.get(isolation, 0) + 1
        self.trusted += outcome["trusted"]

    def to_dict(self) -> dict[str, Any]:
        """A JSON object."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Harvest:
    """The codes that may be selected and how they came about.

    Attributes:
        eligible: Codes of all rounds that count, by task, in the order of round, step and index: those that passed, or
            all that were found where the run does not verify.
        samples: Codes sampled in the latest round.
        passed: How many of these passed.
        unverified: How many of these were not run, because the run does not verify.
        no_code: How many of these completions held no code.
        tokens: Tokens sampled for these, descriptions included.
        verdicts: How these were executed.
    """

    eligible: Mapping[str, Sequence[CodeSample]]
    samples: int
    passed: int
    unverified: int
    no_code: int
    tokens: int
    verdicts: Verdicts = field(default_factory=Verdicts)

    @property
    def unique_codes(self) -> int:
        """Eligible programs that differ in their normalised syntax tree, summed over tasks."""
        return sum(
            len({codetext.normalise(sample.code or "") for sample in group}) for group in self.eligible.values()
        )

    @property
    def solved_tasks(self) -> int:
        """Tasks with a passing code; a code that was not run solves nothing that anybody knows of."""
        return sum(any(sample.passed for sample in group) for group in self.eligible.values())


def harvest(folders: Sequence[Path]) -> Harvest:
    """Gathers the rounds in `folders`; the last of them is the latest."""
    eligible: dict[str, list[CodeSample]] = {}
    samples = passed = unverified = no_code = tokens = 0
    verdicts = Verdicts()
    for folder in folders:
        latest = folder == folders[-1]
        described: tuple[str, int] | None = None
        for sample in read_samples(folder):
            if sample.eligible:
                light = replace(sample, token_ids=(), completion="", outcome=None)
                eligible.setdefault(sample.task_id, []).append(light)
            if not latest:
                continue
            samples += 1
            passed += sample.passed
            unverified += sample.status == UNVERIFIED
            no_code += sample.code is None
            tokens += len(sample.token_ids)
            if sample.outcome:
                verdicts.add(sample.outcome)
            # All codes of a step share one description, and come one after another.
            if described != (sample.task_id, sample.step):
                described = (sample.task_id, sample.step)
                tokens += sample.description_tokens
    return Harvest(eligible, samples, passed, unverified, no_code, tokens, verdicts)
