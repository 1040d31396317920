"""Rows in the formats of TRL's trainers, with what each program's execution said beside them.

A row's prompt is the one that the run trains with, and nothing else of the task. A completion is the text that the run's
model would write after it. In plain text the characters that a token may join with the end of the prompt belong to the
completion, so that TRL's tokens are those of the run.

Not covered: a target is not executed again. A run does this before it learns a target, because that of a base model may
move helpers into the function.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from trl_gift.common.randomness import stream_key
from trl_gift.export.pairs import near_pairs
from trl_gift.export.programs import ERROR_CLASSES, Program, Programs
from trl_gift.run.prompts import TrainingPrompt
from trl_gift.sampling.records import CodeSample

Row = dict[str, Any]
TEXT, CONVERSATIONAL = "text", "conversational"
_ERROR = {
    "error_class": "why it failed: `failed_test`, `runtime_error` or `compile_error`",
    "status": "the same in more detail: a status of the sandbox",
    "message": "what its execution reported",
}
_PAIR = {
    "prompt": "the prompt of the run's training",
    "chosen": "a completion whose program passed every test",
    "rejected": "a completion whose program failed",
    "task_id": "the task",
    **{name: f"of `rejected`: {meaning}" for name, meaning in _ERROR.items()},
    "same_step": "whether one step of a chain wrote both programs, from the same description",
    "distance": "edit distance of the two programs, in words, signs and white spaces",
    "chosen_id": "`sample_id` of `chosen` in the run's records: round/task/step/index",
    "rejected_id": "the same of `rejected`",
}
COLUMNS: Mapping[str, Mapping[str, str]] = {
    "dpo": _PAIR,
    "reward": _PAIR,
    "kto": {
        "prompt": "the prompt of the run's training",
        "completion": "a completion that the run's model wrote",
        "label": "whether its program passed every test",
        "task_id": "the task",
        "error_class": "`passed`, or why it failed: `failed_test`, `runtime_error` or `compile_error`",
        "status": _ERROR["status"],
        "message": _ERROR["message"],
        "sample_id": "the sample in the run's records: round/task/step/index",
    },
    "sft": {
        "prompt": "the prompt of the run's training",
        "completion": "a completion that the run's model wrote",
        "task_id": "the task",
        "perplexity": "of the program under the model that wrote it",
        "sample_id": "the sample in the run's records: round/task/step/index",
    },
    "attempts": {
        "prompt": "the prompt of the run's training",
        "completion": "the text that the run's model wrote",
        "code": "the whole program; null where the completion holds none",
        "passed": "whether it passed every test",
        "error_class": "`passed`, `failed_test`, `runtime_error`, `compile_error`, or `no_program`",
        "status": "a status of the sandbox; `no_code` without a program; `copied` for a passing copy of a reference",
        "message": "what its execution reported, or why there is no program",
        "first_failure": "index of the first test that failed",
        "task_id": "the task",
        "description": "the task in its own words",
        "signature": "what the program starts with; null for whole programs",
        "language": "the language of the program",
        "written_from": "the description that the program was written from; a step of a chain has its own",
        "sample_id": "the sample in the run's records: round/task/step/index",
    },
}
"""The columns of each kind of data set, and what they hold."""

_TYPES = {"label": "bool", "passed": "bool", "same_step": "bool", "distance": "int64", "first_failure": "int64",
          "perplexity": "float64"}  # fmt: skip
_TURNS = ("prompt", "chosen", "rejected", "completion")


@dataclass(frozen=True, slots=True)
class RowSettings:
    """What rows hold.

    Attributes:
        kind: One of `COLUMNS`.
        conversational: Whether prompts and completions are turns of a chat.
        pairs_per_task: The most pairs of a task; of single programs, the most with the same verdict. None for all.
        uses_per_program: In how many pairs a program may be.
        messages: Whether rows hold what executions reported.
        template_kwargs: Arguments of the chat template, which TRL reads from a column of their name.
    """

    kind: str
    conversational: bool = False
    pairs_per_task: int | None = 8
    uses_per_program: int = 1
    messages: bool = True
    template_kwargs: Mapping[str, Any] = field(default_factory=dict)

    def columns(self) -> dict[str, str]:
        """The columns and their meanings."""
        columns = {name: text for name, text in COLUMNS[self.kind].items() if self.messages or name != "message"}
        if self.conversational and self.template_kwargs:
            columns["chat_template_kwargs"] = "arguments of the chat template, as TRL takes them"
        return columns


def pair_rows(programs: Programs, prompt: TrainingPrompt, settings: RowSettings) -> Iterator[Row]:
    """The pairs of one task: TRL's preference format with an explicit prompt."""
    for pair in near_pairs(programs, settings.pairs_per_task, settings.uses_per_program):
        passed, failed = pair.passed.sample, pair.failed.sample
        yield {
            "prompt": _prompt(prompt, settings),
            "chosen": _completion(prompt, str(passed.target), settings),
            "rejected": _completion(prompt, str(failed.target), settings),
            "task_id": prompt.task_id,
            **_error(failed),
            "same_step": pair.same_step,
            "distance": pair.distance,
            "chosen_id": passed.sample_id,
            "rejected_id": failed.sample_id,
        }


def labelled_rows(programs: Programs, prompt: TrainingPrompt, settings: RowSettings) -> Iterator[Row]:
    """The programs of one task with their verdicts: TRL's unpaired preference format."""
    for group, label in ((programs.passed, True), (programs.failed, False)):
        for program in _drawn(group, settings.pairs_per_task):
            yield {
                "prompt": _prompt(prompt, settings),
                "completion": _completion(prompt, str(program.sample.target), settings),
                "label": label,
                "task_id": prompt.task_id,
                **_error(program.sample),
                "sample_id": program.sample.sample_id,
            }


def completion_rows(programs: Programs, prompt: TrainingPrompt, settings: RowSettings) -> Iterator[Row]:
    """The passing programs of one task, or all if the run does not verify: TRL's prompt-completion format."""
    for program in _drawn(programs.passed or programs.unverified, settings.pairs_per_task):
        yield {
            "prompt": _prompt(prompt, settings),
            "completion": _completion(prompt, str(program.sample.target), settings),
            "task_id": prompt.task_id,
            "perplexity": program.sample.perplexity,
            "sample_id": program.sample.sample_id,
        }


def attempt_rows(
    samples: Iterable[CodeSample], prompts: Mapping[str, TrainingPrompt], settings: RowSettings
) -> Iterator[Row]:
    """Every executed sample, and every completion without a program, of the tasks whose prompts are known."""
    for sample in samples:
        prompt = prompts.get(sample.task_id)
        if prompt is None or sample.status not in ERROR_CLASSES:
            continue
        completion: Any = sample.completion
        if settings.conversational:
            completion = _completion(prompt, completion.removeprefix(prompt.left), settings)
        yield {
            "prompt": _prompt(prompt, settings),
            "completion": completion,
            "code": sample.code,
            "passed": sample.passed,
            **_error(sample),
            "first_failure": (sample.outcome or {}).get("first_failure"),
            "task_id": prompt.task_id,
            "description": prompt.description,
            "signature": prompt.signature,
            "language": prompt.language,
            "written_from": sample.description,
            "sample_id": sample.sample_id,
        }


def types(settings: RowSettings) -> dict[str, Any]:
    """The type of each column, in the form of `datasets.Features.from_dict`."""
    text = {"dtype": "string", "_type": "Value"}
    turns = {"feature": {"role": text, "content": text}, "_type": "List"}
    found: dict[str, Any] = {}
    for name in settings.columns():
        if name == "chat_template_kwargs":
            found[name] = {
                key: {"dtype": _type(value), "_type": "Value"} for key, value in settings.template_kwargs.items()
            }
        elif name in _TURNS and settings.conversational:
            found[name] = turns
        else:
            found[name] = {"dtype": _TYPES.get(name, "string"), "_type": "Value"}
    return found


def _type(value: object) -> str:
    return {bool: "bool", int: "int64", float: "float64"}.get(type(value), "string")


def _prompt(prompt: TrainingPrompt, settings: RowSettings) -> Any:
    if not settings.conversational or prompt.conversation is None:
        return prompt.text
    return [{"role": role, "content": text} for role, text in prompt.conversation.turns]


def _completion(prompt: TrainingPrompt, target: str, settings: RowSettings) -> Any:
    if not settings.conversational or prompt.conversation is None:
        return f"{prompt.left}{target}"
    return [{"role": "assistant", "content": prompt.conversation.answer(target)}]


def _error(sample: CodeSample) -> Row:
    return {"error_class": ERROR_CLASSES[sample.status], "status": sample.status, "message": sample.message}


def _drawn(programs: tuple[Program, ...], most: int | None) -> list[Program]:
    """As many programs, drawn uniformly by their names, in the order of the chain."""
    if most is None or len(programs) <= most:
        return list(programs)
    keys = [stream_key("export", program.sample.sample_id) for program in programs]
    kept = sorted(sorted(range(len(programs)), key=keys.__getitem__)[:most])
    return [programs[place] for place in kept]
