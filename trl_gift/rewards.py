"""A reward for TRL's `GRPOTrainer` and `RLOOTrainer`: programs are run against the tests in the dataset's columns.

    trainer = GRPOTrainer(model, reward_funcs=code_reward, train_dataset=as_dataset(load_tasks("tasks.jsonl")), ...)

Programs run in the sandbox, in parallel, and equal programs of a task run once per call.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from trl_gift import codetext
from trl_gift.errors import ConfigError, TaskError
from trl_gift.prompts import ask_to_write, find_in_answer, thoughts
from trl_gift.sandbox import Limits, LocalSandbox, Outcome, Sandbox, Status
from trl_gift.tasks import Task

if TYPE_CHECKING:
    import datasets

__all__ = ["CodeReward", "Shape", "as_dataset", "code_reward"]

Shape = Literal["pass", "fraction"]
Completion = str | Sequence[Mapping[str, Any]]

_SHAPES = ("pass", "fraction")
# What makes a task; GRPOTrainer hands every column of the dataset over.
_COLUMNS = ("task_id", "description", "signature", "reference", "prelude", "tests", "hidden_tests", "language")
# Tasks of the rows that were seen last, so that a row with many generations is read once.
_REMEMBERED = 4096


class CodeReward:
    """A reward function in TRL's form: a number for each completion, by the tests in the dataset's columns.

    Each row of the dataset has the columns of a task (`Task.to_row`): `tests`, and where tests call a function `signature`
    or `reference`. `as_dataset` makes such a dataset. Completions are texts or messages; a thought before the answer is
    passed over, and the program is found as in GiFT.

    Args:
        tests: The column that holds the tests.
        shape: `"pass"` (the default) gives 1.0 to a program that passes every test and 0.0 to any other. `"fraction"`
            gives the share of the tests that pass; a test that can be guessed then pays, too.
        limits: What each program may use.
        sandbox: Runs the programs; by default a `LocalSandbox` that starts with the first call.
        num_workers: Number of programs that run at the same time in that sandbox; one per CPU if not given.
        rename_entry_point: Whether a function of another name counts if it is the only one with the right number of
            parameters.

    Raises:
        ConfigError: for an unknown `shape`.
    """

    def __init__(
        self,
        tests: str = "tests",
        shape: Shape = "pass",
        limits: Limits | None = None,
        sandbox: Sandbox | None = None,
        num_workers: int | None = None,
        rename_entry_point: bool = False,
    ) -> None:
        if shape not in _SHAPES:
            raise ConfigError(f"CodeReward(shape={shape!r}) is unknown; use 'pass' or 'fraction'.")
        self.__name__ = "code_reward"  # TRL logs a reward by the name of its function
        self._tests = tests
        self._shape = shape
        self._limits = limits
        self._sandbox = sandbox
        self._owned: LocalSandbox | None = None
        self._num_workers = num_workers
        self._rename_entry_point = rename_entry_point
        self._tasks: dict[str, Task] = {}

    def __call__(
        self,
        prompts: Sequence[Any] | None = None,
        completions: Sequence[Completion] = (),
        **columns: Any,
    ) -> list[float | None]:
        """The rewards of completions.

        Args:
            prompts: Not used; part of TRL's form.
            completions: The completions, as texts or as lists of messages.
            **columns: The columns of the dataset, each as long as `completions`, and what else TRL hands over. If TRL
                gives `log_extra` and `log_metric`, the statuses and the pass rate are logged.

        Returns:
            For each completion its reward; None where no sandbox was there to run it, which TRL leaves out of the mean.

        Raises:
            ConfigError: if the dataset lacks the column of the tests.
            TaskError: for a row that is not a task.
        """
        if self._tests not in columns:
            raise ConfigError(
                f"code_reward needs the dataset's column {self._tests!r}, and there are {sorted(columns)}; make the dataset by "
                "trl_gift.rewards.as_dataset, or name the column by CodeReward(tests=...)."
            )
        tasks = [self._task(columns, place) for place in range(len(completions))]
        programs = [self._program(task, text_of(one)) for task, one in zip(tasks, completions, strict=True)]
        jobs = {
            (task.task_id, program): (program, task)
            for task, program in zip(tasks, programs, strict=True)
            if program is not None
        }
        futures = {
            name: self._running().submit(
                program, task.all_tests, limits=self._limits, stop_at_first_failure=self._shape == "pass"
            )
            for name, (program, task) in jobs.items()
        }
        outcomes = [
            None if program is None else futures[task.task_id, program].result()
            for task, program in zip(tasks, programs, strict=True)
        ]
        self._log(outcomes, columns)
        return [self._reward(outcome) for outcome in outcomes]

    def close(self) -> None:
        """Ends the sandbox that the first call has started; the next call starts another."""
        if self._owned is not None:
            self._owned.close()
            self._owned = None

    def _running(self) -> Sandbox:
        if self._sandbox is not None:
            return self._sandbox
        if self._owned is None:
            self._owned = LocalSandbox(self._num_workers)
        return self._owned

    def _task(self, columns: Mapping[str, Any], place: int) -> Task:
        row = {name: columns[name][place] for name in _COLUMNS if name in columns}
        row["tests"] = columns[self._tests][place]
        key = json.dumps(row, sort_keys=True, default=repr)
        task = self._tasks.get(key)
        if task is None:
            given = {"task_id": f"row {place}", "description": "(a prompt)"}
            task = Task.from_row({**given, **{name: value for name, value in row.items() if value is not None}})
            # Two rows may bear the same name, or none.
            task = replace(task, task_id=key)
            if len(self._tasks) >= _REMEMBERED:
                self._tasks.clear()
            self._tasks[key] = task
        return task

    def _program(self, task: Task, text: str) -> str | None:
        """The program in a completion: of a chat model's answer, or of what follows a signature."""
        parts = thoughts.split(text)
        if parts is None:
            return None
        if task.signature is not None and parts.answer[:1].isspace():
            return codetext.complete(task.signature, parts.answer.lstrip("\n"))
        return find_in_answer(task, parts.answer, task.signature, self._rename_entry_point).code

    def _reward(self, outcome: Outcome | None) -> float | None:
        if outcome is None:
            return 0.0
        if outcome.status is Status.INFRASTRUCTURE:
            return None
        if self._shape == "pass" or not outcome.results:
            return float(outcome.passed)
        return sum(result.passed for result in outcome.results) / len(outcome.results)

    def _log(self, outcomes: Sequence[Outcome | None], columns: Mapping[str, Any]) -> None:
        statuses = ["no_code" if outcome is None else str(outcome.status) for outcome in outcomes]
        if callable(log_extra := columns.get("log_extra")):
            log_extra("code_status", statuses)
        if statuses and callable(log_metric := columns.get("log_metric")):
            log_metric("code_pass_rate", statuses.count(str(Status.PASSED)) / len(statuses))


code_reward = CodeReward()
"""The reward with its defaults: 1.0 for a program that passes every test, otherwise 0.0."""


def as_dataset(tasks: Sequence[Task]) -> datasets.Dataset:
    """A dataset for `GRPOTrainer` and `RLOOTrainer`: the question as a conversation in `prompt`, and the columns of the tasks.

    Args:
        tasks: The tasks, as `load_tasks` gives them.

    Raises:
        TaskError: for a task without tests.
    """
    import datasets

    rows = []
    for task in tasks:
        if task.tests is None:
            raise TaskError(f"task {task.task_id!r} has no tests, so no program of it can be rewarded; leave it out.")
        question = ask_to_write(task.signature, task.description, task.examples[:1], task.language, task.opening)
        rows.append({"prompt": [{"role": "user", "content": question}], **task.to_row()})
    return datasets.Dataset.from_list(rows)


def text_of(completion: Completion) -> str:
    """The text of a completion: a text as it is, of messages those of the assistant."""
    if isinstance(completion, str):
        return completion
    return "\n".join(str(message.get("content") or "") for message in completion if message.get("role") == "assistant")
