"""`CodeSample`: one sampled completion with its whole lineage, as the store records it.

A record answers the question "why did the model learn this?": it holds the description that the program was written from,
the sample that this description was read from, the model that wrote it, and the outcome of its execution.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

SCHEMA_VERSION = 5
NO_CODE = "no_code"
"""Status of a completion in which no program was found; all other statuses are those of the sandbox."""

UNVERIFIED = "unverified"
"""Status of a program that was not executed, because the run does not verify; whether it is correct is unknown."""

COPIED = "copied"
"""Status of a passing program that equals the task's reference, which its chain has read: not the model's own work."""

INFRASTRUCTURE = "infrastructure"
PASSED = "passed"
CHAIN, REPAIR, SOLUTION = "chain", "repair", "solution"
"""Kinds of samples: drawn by the sampler; a failed program written again; written by a teacher from the task alone."""

_LARGEST_EXPONENT = 700.0  # exp of more overflows
REFERENCE = "reference"
"""The parent of a step whose description was read from the task's reference."""


@dataclass(frozen=True, slots=True)
class CodeSample:
    """One sampled completion, with its program if it holds one.

    Attributes:
        task_id: The task, the paper's i.
        round: Self-training round, from 1.
        step: Step of the chain, from 0; its first step is a plain conditional sample.
        index: Index among the samples of the step.
        parent: `sample_id` of the sample that the description was read from; of a repair, that of the program that failed;
            `"reference"`; None for the task's own description.
        sampler: The sampler that asked for it.
        hint: The hint that the prompt showed: `"reference"`, `"failing_test"`, `"repair"`, or None for nothing.
        description: The description that the program was written from, d in P(c | d).
        description_tokens: Number of tokens sampled for that description and for those that were rejected before it; 0
            for the task's own.
        description_tries: Number of descriptions that were drawn for the step; 0 if it starts from the task's own words.
        description_leaks: Number of these that gave away the program that was read, or the reference.
        read_reference: Whether the prompt goes back to the task's reference: by a description or by a hint.
        prompt_hash: Hash of the prompt's token ids.
        completion: The text that the model wrote; it begins with what the prompt has left to it (`Prompt.left`).
        code: The whole program; None if the completion holds none.
        target: The training target that gives `code`: what follows the text of the prompt.
        no_code_kind: Why the completion holds no program, as one of the kinds in `trl_gift.codetext`; None if it holds one.
        no_code_reason: The same in words.
        token_ids: The sampled tokens, end token included.
        finish_reason: `"eos"`, `"stop"`, `"length"`, or `"context"` where the context of a server cut the completion.
        logprob_sum: Log-probability of the scored tokens under the untouched model, in nats.
        num_scored: Number of tokens in that sum.
        scored: True when a scoring pass gave the sum, False when the sampling itself did.
        status: A status of the sandbox; `"no_code"`; `"unverified"` for a program that was not executed; `"copied"` for a
            passing program that equals a reference which its chain has read.
        outcome: The outcome of the execution as a dictionary; None where nothing ran.
        continues: Whether the chain continued from this sample; of a repair, whether a chain of the next round may.
        model_hash: Fingerprint of the trainable weights that wrote it, the name of the teacher that did, or name and
            fingerprint of another model that sampled.
        seed: The run's `samples_seed`.
        created: Time of the verdict, in seconds since the epoch.
        kind: `"chain"` for what the sampler drew; `"repair"` for a failed program that was written again; `"solution"` for a
            teacher's program from the task alone.
        teacher_tokens: Number of tokens that another model than the student wrote for it; their ids are not recorded.
    """

    task_id: str
    round: int
    step: int
    index: int
    parent: str | None
    sampler: str
    hint: str | None
    description: str
    description_tokens: int
    description_tries: int
    description_leaks: int
    read_reference: bool
    prompt_hash: str
    completion: str
    code: str | None
    target: str | None
    no_code_kind: str | None
    no_code_reason: str | None
    token_ids: tuple[int, ...]
    finish_reason: str
    logprob_sum: float | None
    num_scored: int
    scored: bool
    status: str
    outcome: dict[str, Any] | None
    continues: bool
    model_hash: str
    seed: int
    created: float
    kind: str = CHAIN
    teacher_tokens: int = 0

    @property
    def num_tokens(self) -> int:
        """Number of tokens that were sampled for the program."""
        return len(self.token_ids) + self.teacher_tokens

    @property
    def sample_id(self) -> str:
        """Unique within a run."""
        return sample_id(self.round, self.task_id, self.step, self.index)

    @property
    def passed(self) -> bool:
        """Whether the program passed every test and is not a copy of a reference that its chain has read."""
        return self.status == PASSED

    @property
    def eligible(self) -> bool:
        """Whether a chain may continue from the sample and selection may draw it: it passed, or the run does not verify."""
        return self.status in (PASSED, UNVERIFIED)

    @property
    def message(self) -> str:
        """Why the program did not pass, or why there is none; empty if it passed or was not run."""
        return (self.outcome or {}).get("message") or self.no_code_reason or ""

    @property
    def perplexity(self) -> float | None:
        """`exp(mean negative log-likelihood)` of the program's tokens and the end token; None where it is unknown.

        A model with broken weights gives a sum that is not a number, which says nothing either.
        """
        if self.logprob_sum is None or math.isnan(self.logprob_sum) or self.num_scored == 0:
            return None
        return math.exp(min(-self.logprob_sum / self.num_scored, _LARGEST_EXPONENT))

    def to_record(self) -> dict[str, Any]:
        """A JSON object."""
        values = {name: getattr(self, name) for name in _FIELDS}
        return {"schema": SCHEMA_VERSION, "sample_id": self.sample_id, **values, "perplexity": self.perplexity}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> CodeSample:
        """The sample of a JSON object that `to_record` made.

        Raises:
            ValueError: for a record of another schema version.
        """
        if record.get("schema") != SCHEMA_VERSION:
            raise ValueError(f"sample record of schema {record.get('schema')!r}; this version reads {SCHEMA_VERSION}.")
        values = {name: record[name] for name in _FIELDS}
        values["token_ids"] = tuple(values["token_ids"])
        return cls(**values)


_FIELDS = tuple(field.name for field in fields(CodeSample))


def sample_id(round_index: int, task_id: str, step: int, index: int) -> str:
    """The name of a sample: what it is, not when it was made."""
    return f"{round_index}/{task_id}/{step}/{index}"
